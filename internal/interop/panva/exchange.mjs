// Runs oidc-provider for clients without a user in front of them, on a free loopback port: client credentials, and by its way of registering grants JWT bearer
// and token exchange. Prints one line of JSON, {issuer, admin}, and serves until its standard input ends. It stands beside the Go code that starts it, in the
// node directory, where its packages are.
//
// The admin address is not part of the provider:
//   POST /clients   registers (or replaces) the client whose metadata is the body
//   POST /trust     {issuer, jwks} believes assertions of that issuer
//   POST /silent    {"silent": true} leaves issued_token_type out of answers
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import Provider, { errors } from '../node/node_modules/oidc-provider/lib/index.js';
import { createLocalJWKSet, jwtVerify } from '../node/node_modules/jose/dist/webapi/index.js';
import { admin, listen } from '../node/admin.mjs';
import { SharedStorage } from '../node/storage.mjs';

console.info = () => {};
console.warn = () => {};

const jwtBearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const tokenExchange = 'urn:ietf:params:oauth:grant-type:token-exchange';
const type = (name) => `urn:ietf:params:oauth:token-type:${name}`;
const { InvalidGrant, InvalidRequest, InvalidScope, InvalidTarget } = errors;

const trusted = new Map(); // issuer -> keys
const users = ['alice', 'bob'];
const audiences = { stock: 'https://stock.example' };
const server = { scope: 'orders:read orders:write', accessTokenTTL: 300, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } };
let silent = false;

let answer;
const front = createServer((req, res) => answer(req, res));
const issuer = `http://127.0.0.1:${await listen(front)}`;

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const provider = new Provider(issuer, {
  adapter: SharedStorage,
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', kid: 'one' }] },
  cookies: { keys: ['only for tests on this machine'] },
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none'],
  scopes: ['openid', 'orders:read', 'orders:write'],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      getResourceServerInfo: (_ctx, resource) => {
        if (!Object.values(audiences).includes(resource)) throw new InvalidTarget();
        return server;
      },
    },
  },
  extraTokenClaims: (ctx) => (ctx.oidc.actor ? { act: ctx.oidc.actor } : undefined),
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  ttl: { AccessToken: 300, ClientCredentials: 300, IdToken: 3600, Grant: 86400, Interaction: 600, Session: 86400 },
});
provider.on('server_error', (_ctx, err) => console.error(err));

// issue saves an access token for a user: opaque, or a JWT for a resource.
async function issue(ctx, accountId, scope, gty, resource) {
  const { client } = ctx.oidc;
  const token = new provider.AccessToken({ accountId, client, scope: scope || undefined, gty });
  if (resource) {
    token.resourceServer = new provider.ResourceServer(resource, server);
  }
  const value = await token.save();
  return { access_token: value, token_type: 'Bearer', expires_in: token.expiration, scope: scope || undefined };
}

provider.registerGrantType(jwtBearer, async (ctx) => {
  const { assertion, scope } = ctx.oidc.params;
  if (!assertion) throw new InvalidRequest('assertion is missing');
  let claims;
  try {
    const { iss } = JSON.parse(Buffer.from(assertion.split('.')[1], 'base64url'));
    ({ payload: claims } = await jwtVerify(assertion, createLocalJWKSet(trusted.get(iss)), {
      issuer: iss, audience: [issuer, `${issuer}/token`], requiredClaims: ['exp', 'sub'], typ: 'JWT',
    }));
  } catch {
    throw new InvalidGrant('the assertion is not believed');
  }
  if (!users.includes(claims.sub)) throw new InvalidGrant('the subject is unknown');
  ctx.body = await issue(ctx, claims.sub, scope, 'jwt_bearer');
}, ['assertion', 'scope']);

// find reads one of the two tokens of an exchange: an active one of this provider.
async function find(ctx, name) {
  const value = ctx.oidc.params[`${name}_token`];
  const kind = ctx.oidc.params[`${name}_token_type`];
  if (!value || kind !== type('access_token')) throw new InvalidRequest(`${name}_token is missing, or no access token`);
  const token = await provider.AccessToken.find(value) ?? await provider.ClientCredentials.find(value);
  if (!token) throw new InvalidRequest(`the ${name}_token is not active`);
  return token;
}

provider.registerGrantType(tokenExchange, async (ctx) => {
  const { params } = ctx.oidc;
  const subject = await find(ctx, 'subject');
  if (params.actor_token) {
    const actor = await find(ctx, 'actor');
    ctx.oidc.actor = { sub: actor.accountId ?? actor.clientId };
  } else if (params.actor_token_type) {
    throw new InvalidRequest('actor_token_type without actor_token');
  }
  const scope = params.scope ?? subject.scope;
  for (const one of (scope ?? '').split(' ')) {
    if (one && !(subject.scope ?? '').split(' ').includes(one)) throw new InvalidScope('the subject token has not that scope', one);
  }
  const targets = [params.audience ?? []].flat().map((name) => audiences[name]).concat(params.resource ?? []);
  if (targets.length > 1 || targets.some((target) => !Object.values(audiences).includes(target))) throw new InvalidTarget();
  const requested = params.requested_token_type ?? type('access_token');
  let body;
  if (requested === type('access_token')) {
    body = await issue(ctx, subject.accountId, scope, 'token_exchange', targets[0]);
    if ((scope ?? '').split(' ').includes('openid')) {
      const beside = new provider.IdToken({ sub: subject.accountId }, { ctx });
      beside.scope = 'openid';
      beside.set('at_hash', body.access_token);
      body.id_token = await beside.issue({ use: 'idtoken' });
    }
  } else if (requested === type('id_token')) {
    const token = new provider.IdToken({ sub: subject.accountId }, { ctx });
    token.scope = 'openid';
    body = { access_token: await token.issue({ use: 'idtoken' }), token_type: 'N_A' };
  } else {
    throw new InvalidRequest('the requested_token_type is not issued here');
  }
  ctx.body = silent ? body : { ...body, issued_token_type: requested };
}, ['subject_token', 'subject_token_type', 'actor_token', 'actor_token_type', 'requested_token_type', 'audience', 'resource', 'scope'], ['audience', 'resource']);

answer = provider.callback();

await admin(issuer, {
  '/clients': async (said) => {
    await provider.Client.adapter.upsert(said.client_id, said);
  },
  '/trust': (said) => {
    trusted.set(said.issuer, said.jwks);
  },
  '/silent': (said) => {
    silent = said.silent;
  },
});

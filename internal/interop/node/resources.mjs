// Runs oidc-provider as the authorization server of APIs (RFC 8707) on a free loopback port. Prints one line of JSON, {issuer, admin}, and serves
// until its standard input ends. The resource https://FORMAT.example gets access tokens of that format: "opaque", or a JWT signed with the algorithm
// "rs256", "ps256", "es256", "eddsa". Admin address:
//   POST /clients   registers (or replaces) the client whose metadata is the body
//   POST /rotate    signs with new keys; {"drop": true} also takes the old ones from the published set
//   POST /settings  {"accessTokenTTL": seconds}
import { createServer } from 'node:http';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import Provider, { errors } from 'oidc-provider';
import { admin, listen } from './admin.mjs';
import { SharedStorage } from './storage.mjs';

console.info = () => {};
console.warn = () => {};

const settings = { accessTokenTTL: 300 };
let keys = [];

function addKeys() {
  for (const [type, options] of [['ed25519'], ['ec', { namedCurve: 'P-256' }], ['rsa', { modulusLength: 2048 }]]) {
    const { privateKey } = generateKeyPairSync(type, options);
    keys.unshift({ ...privateKey.export({ format: 'jwk' }), use: 'sig', kid: randomBytes(6).toString('hex') });
  }
}

const formats = {
  opaque: { accessTokenFormat: 'opaque' },
  rs256: { accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } },
  ps256: { accessTokenFormat: 'jwt', jwt: { sign: { alg: 'PS256' } } },
  es256: { accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } },
  eddsa: { accessTokenFormat: 'jwt', jwt: { sign: { alg: 'EdDSA' } } },
};

function getResourceServerInfo(_ctx, resource) {
  const format = formats[/^https:\/\/(\w+)\.example$/.exec(resource)?.[1]];
  if (!format) throw new errors.InvalidTarget();
  return { scope: 'orders:read orders:write', accessTokenTTL: settings.accessTokenTTL, ...format };
}

function make(issuer) {
  const provider = new Provider(issuer, {
    adapter: SharedStorage,
    jwks: { keys },
    cookies: { keys: ['only for tests on this machine'] },
    scopes: ['openid', 'offline_access', 'orders:read', 'orders:write'],
    enabledJWA: { introspectionSigningAlgValues: ['RS256', 'ES256'] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: true },
      introspection: { enabled: true },
      jwtIntrospection: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: (_ctx, _client, oneOf) => oneOf,
        getResourceServerInfo,
        // An ordinary login's token is for the API that the login was asked for.
        useGrantedResource: () => true,
      },
    },
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    pkce: { required: () => true },
    ttl: { AccessToken: 300, ClientCredentials: 300, AuthorizationCode: 60, IdToken: 3600, Grant: 86400, Interaction: 600, Session: 86400 },
  });
  provider.on('server_error', (_ctx, err) => console.error(err));
  return provider;
}

let provider;
let answer;
const front = createServer((req, res) => answer(req, res));
const issuer = `http://127.0.0.1:${await listen(front)}`;

function restart() {
  provider = make(issuer);
  answer = provider.callback();
}
addKeys();
restart();

await admin(issuer, {
  '/clients': async (said) => {
    await provider.Client.adapter.upsert(said.client_id, said);
  },
  '/rotate': (said) => {
    if (said.drop) keys = [];
    addKeys();
    restart();
  },
  '/settings': (said) => {
    Object.assign(settings, said);
  },
});

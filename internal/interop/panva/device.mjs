// Runs oidc-provider for clients without a browser, device flow and CIBA by poll and ping, on a free loopback port. Prints one line of JSON, {issuer, admin}, and
// serves until its standard input ends. It stands beside the Go code that starts it, in the node directory, where its packages are.
//
// The admin address is not part of the provider:
//   POST /clients   registers (or replaces) the client whose metadata is the body
//   POST /answer    {account, allow} answers every backchannel request that waits for the account, as its telephone would
//   POST /ttl       {DeviceCode, BackchannelAuthenticationRequest}, in seconds
//   POST /down      {"down": true} answers every request of the provider with 503
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import Provider, { errors } from '../node/node_modules/oidc-provider/lib/index.js';
import { admin, listen } from '../node/admin.mjs';
import { SharedStorage } from '../node/storage.mjs';

console.info = () => {};
console.warn = () => {};

const ids = new Map(); // user code -> id

class Storage extends SharedStorage {
  async upsert(id, payload, expiresIn) {
    if (payload.userCode) ids.set(payload.userCode, id);
    return super.upsert(id, payload, expiresIn);
  }

  async findByUserCode(userCode) {
    return this.find(ids.get(userCode));
  }
}

const ttl = { DeviceCode: 600, BackchannelAuthenticationRequest: 600 };
const users = ['alice', 'bob'];
let waiting = []; // backchannel requests
let down = false;

let answer;
const front = createServer((req, res) => {
  if (down) {
    res.writeHead(503, { 'content-type': 'text/html' }).end('<h1>Service Unavailable</h1>');
    return;
  }
  answer(req, res);
});
const issuer = `http://127.0.0.1:${await listen(front)}`;

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const provider = new Provider(issuer, {
  adapter: Storage,
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', kid: 'one' }] },
  cookies: { keys: ['only for tests on this machine'] },
  scopes: ['openid', 'offline_access'],
  acrValues: ['urn:example:silver'],
  features: {
    ciba: {
      enabled: true,
      deliveryModes: ['poll', 'ping'],
      processLoginHint: (_ctx, hint) => (users.includes(hint) ? hint : undefined),
      processLoginHintToken: () => undefined,
      triggerAuthenticationDevice: (_ctx, request, account, client) => {
        waiting.push({ request, account, client });
      },
      validateRequestContext: () => {},
      verifyUserCode: () => {},
    },
    deviceFlow: { enabled: true },
    devInteractions: { enabled: true },
  },
  // The provider's own dispatcher refuses loopback, and its registration http: the notification goes by the way that is there.
  fetch: (url, { dispatcher, ...options }) => fetch(String(url).replace(/^https:\/\/127\./, 'http://127.'), options),
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  ttl: {
    DeviceCode: () => ttl.DeviceCode,
    BackchannelAuthenticationRequest: (ctx) => Math.min(Number(ctx.oidc.params.requested_expiry ?? Infinity), ttl.BackchannelAuthenticationRequest),
    AccessToken: 300, IdToken: 3600, RefreshToken: 86400, Grant: 86400, Interaction: 600, Session: 86400,
  },
});
provider.on('server_error', (_ctx, err) => console.error(err));
answer = provider.callback();

async function answerAll({ account, allow }) {
  const answered = waiting.filter((w) => w.account.accountId === account);
  waiting = waiting.filter((w) => w.account.accountId !== account);
  for (const { request, client } of answered) {
    let result = new errors.AccessDenied('the user said no');
    if (allow) {
      const grant = new provider.Grant({ clientId: client.clientId, accountId: account });
      grant.addOIDCScope(request.scope ?? request.params.scope);
      await grant.save();
      result = grant;
    }
    await provider.backchannelResult(request, result, { acr: 'urn:example:silver', authTime: Math.floor(Date.now() / 1000) });
  }
  return answered.length;
}

await admin(issuer, {
  '/clients': async (said) => {
    await provider.Client.adapter.upsert(said.client_id, said);
  },
  '/answer': async (said) => {
    if (await answerAll(said) === 0) throw new Error(`nothing waits for ${said.account}`);
  },
  '/ttl': (said) => {
    Object.assign(ttl, said);
  },
  '/down': (said) => {
    down = said.down;
  },
});

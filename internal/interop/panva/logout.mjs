// Runs oidc-provider with every kind of logout that it has on a free loopback port: RP-initiated and back-channel. Prints one line of JSON,
// {issuer, admin}, and serves until its standard input ends. It stands beside the Go code that starts it, in the node directory, where its packages are.
//
// The admin address is not part of the provider:
//   POST /clients     registers (or replaces) the client whose metadata is the body
//   POST /rotate      signs with a new key; {"drop": true} also takes the old ones from the published set
//   GET /deliveries   the logout tokens that were sent, in order: [{uri, token, status, outcome}]
import { createServer } from 'node:http';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import Provider from '../node/node_modules/oidc-provider/lib/index.js';
import { admin, listen } from '../node/admin.mjs';
import { SharedStorage } from '../node/storage.mjs';

console.info = () => {};
console.warn = () => {};

let keys = [];
const deliveries = [];
const outcomes = new Map(); // client -> what the provider itself made of the last answer

function addKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  keys.unshift({ ...privateKey.export({ format: 'jwk' }), use: 'sig', kid: randomBytes(6).toString('hex') });
}

// The provider's own dispatcher refuses special-use addresses, loopback among them. All else of the request is the provider's.
async function deliver(url, { dispatcher, ...options }) {
  const delivery = { uri: String(url), token: new URLSearchParams(options.body).get('logout_token'), status: 0 };
  deliveries.push(delivery);
  const response = await fetch(url, options);
  delivery.status = response.status;
  return response;
}

function make(issuer) {
  const provider = new Provider(issuer, {
    adapter: SharedStorage,
    jwks: { keys },
    cookies: { keys: ['only for tests on this machine'] },
    scopes: ['openid', 'offline_access'],
    features: {
      backchannelLogout: { enabled: true },
      devInteractions: { enabled: true },
      revocation: { enabled: true },
      rpInitiatedLogout: { enabled: true },
    },
    fetch: deliver,
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    pkce: { required: () => true },
    rotateRefreshToken: true,
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    ttl: { AccessToken: 300, AuthorizationCode: 60, IdToken: 3600, RefreshToken: 86400, Grant: 86400, Interaction: 600, Session: 86400 },
  });
  provider.on('server_error', (_ctx, err) => console.error(err));
  provider.on('backchannel.success', (_ctx, client) => outcomes.set(client.backchannelLogoutUri, 'success'));
  provider.on('backchannel.error', (_ctx, err, client) => outcomes.set(client.backchannelLogoutUri, err.message));
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
addKey();
restart();

await admin(issuer, {
  '/clients': async (said) => {
    await provider.Client.adapter.upsert(said.client_id, said);
  },
  '/rotate': (said) => {
    if (said.drop) keys = [];
    addKey();
    restart();
  },
  '/deliveries': () => {
    return deliveries.map((d) => ({ ...d, outcome: outcomes.get(d.uri) ?? '' }));
  },
});

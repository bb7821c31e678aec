// Runs oidc-provider on a free loopback port. Prints one line of JSON, {issuer, admin}, and serves until its standard input ends.
//
// The admin address is not part of the provider:
//   POST /clients   registers (or replaces) the client whose metadata is the body
//   POST /rotate    signs with a new key; {"drop": true} also takes the old ones from the published set
//   POST /settings  {"accessTokenTTL": seconds}
//   POST /down      {"down": true} answers every request of the provider with 503
import { createServer } from 'node:http';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import Provider from 'oidc-provider';
import { admin, listen } from './admin.mjs';
import { SharedStorage } from './storage.mjs';

// A quick-start warning on every start would hide a real one.
console.info = () => {};
console.warn = () => {};

const settings = { accessTokenTTL: 300 };
let keys = [];
let down = false;

function addKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  // No alg: the same key serves RS256 and PS256, as this provider publishes it by default.
  keys.unshift({ ...privateKey.export({ format: 'jwk' }), use: 'sig', kid: randomBytes(6).toString('hex') });
}

const users = {
  alice: { name: 'Alice Adams', email: 'alice@example.com', email_verified: true },
};

function make(issuer) {
  const provider = new Provider(issuer, {
    adapter: SharedStorage,
    jwks: { keys },
    cookies: { keys: ['only for tests on this machine'] },
    claims: { openid: ['sub'], profile: ['name'], email: ['email', 'email_verified'] },
    scopes: ['openid', 'profile', 'email', 'offline_access'],
    acrValues: ['urn:example:silver'],
    enabledJWA: {
      idTokenSigningAlgValues: ['RS256', 'PS256', 'HS256'],
      userinfoSigningAlgValues: ['RS256', 'PS256'],
    },
    features: {
      devInteractions: { enabled: true },
      jwtUserinfo: { enabled: true },
      revocation: { enabled: true },
      rpInitiatedLogout: { enabled: true },
    },
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id, ...users[id] }) }),
    pkce: { required: () => true },
    rotateRefreshToken: true,
    // Given without offline_access too, so that an ordinary login can be refreshed.
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    ttl: {
      AccessToken: () => settings.accessTokenTTL,
      AuthorizationCode: 60, IdToken: 3600, RefreshToken: 86400, Grant: 86400, Interaction: 600, Session: 86400,
    },
  });
  provider.on('server_error', (_ctx, err) => console.error(err));
  return provider;
}

let provider;
let answer;
const front = createServer((req, res) => {
  if (down) {
    res.writeHead(503, { 'content-type': 'text/html' }).end('<h1>Service Unavailable</h1>');
    return;
  }
  answer(req, res);
});
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
  '/settings': (said) => {
    Object.assign(settings, said);
  },
  '/down': (said) => {
    down = said.down;
  },
});

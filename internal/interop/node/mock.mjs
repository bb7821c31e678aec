// Runs oauth2-mock-server on a free loopback port. Prints one line of JSON, {issuer, admin}, and serves until its standard input ends.
//
// POST {admin}/arm replaces the faults:
//   {"response": {"statusCode": 500, "body": {}, "set": {}, "unset": []},   token endpoint
//    "userinfo": {"statusCode": 500, "body": {}},
//    "token":    {"header": {}, "set": {}, "unset": []},                    claims of the ID token before it is signed; "only" narrows it to a grant_type
//    "redirect": {"set": {}, "unset": []},                                  parameters of the authorization response
//    "revoke":   {"statusCode": 503}}
// POST {admin}/rotate adds a key; the server signs with its keys in turn.
import { OAuth2Server } from 'oauth2-mock-server';
import { admin } from './admin.mjs';

const server = new OAuth2Server();
await server.issuer.keys.generate('RS256');
await server.start(0, '127.0.0.1');

let armed = {};

function patch(target, { set = {}, unset = [] }) {
  Object.assign(target, set);
  for (const name of unset) delete target[name];
}

// Access and ID token are signed by the same hook; only the ID token's audience is a client.
const isIDToken = (token) => token.payload.aud !== undefined;

server.service.on('beforeTokenSigning', (token, req) => {
  const fault = armed.token;
  if (!fault || !isIDToken(token)) return;
  if (fault.only && fault.only !== req.body.grant_type) return;
  // null stands for a parameter that is left out.
  for (const [name, value] of Object.entries(fault.header ?? {})) token.header[name] = value ?? undefined;
  patch(token.payload, fault);
  if (fault.expOffset) token.payload.exp = Math.floor(Date.now() / 1000) + fault.expOffset;
});
server.service.on('beforeResponse', (response) => {
  const fault = armed.response;
  if (!fault) return;
  if (fault.statusCode) response.statusCode = fault.statusCode;
  if ('body' in fault) response.body = fault.body;
  patch(response.body ?? {}, fault);
});
server.service.on('beforeUserinfo', (response) => {
  if (!armed.userinfo) return;
  response.statusCode = armed.userinfo.statusCode ?? 200;
  if ('body' in armed.userinfo) response.body = armed.userinfo.body;
});
server.service.on('beforeRevoke', (response) => {
  if (armed.revoke) response.statusCode = armed.revoke.statusCode;
});
server.service.on('beforeAuthorizeRedirect', ({ url }) => {
  if (!armed.redirect) return;
  for (const [name, value] of Object.entries(armed.redirect.set ?? {})) url.searchParams.set(name, value);
  for (const [name, value] of Object.entries(armed.redirect.add ?? {})) url.searchParams.append(name, value);
  for (const name of armed.redirect.unset ?? []) url.searchParams.delete(name);
});

await admin(server.issuer.url, {
  '/arm': (said) => {
    armed = said;
  },
  '/rotate': async () => {
    await server.issuer.keys.generate('RS256');
  },
});

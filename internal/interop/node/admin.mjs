// What every provider here has beside its own endpoints: a free loopback port, and an address where the test tells it things.
import { createServer } from 'node:http';

// listen resolves to the port.
export function listen(server) {
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));
}

async function body(req) {
  let text = '';
  for await (const chunk of req) text += chunk;
  return text === '' ? {} : JSON.parse(text);
}

// admin answers paths by what commands do with the JSON that came: 204, or what they return. It prints one line of JSON, {issuer, admin}, and the process ends with its standard input.
export async function admin(issuer, commands) {
  const server = createServer(async (req, res) => {
    try {
      const said = await body(req);
      const command = commands[req.url];
      if (!command) {
        res.writeHead(404).end();
        return;
      }
      const answer = await command(said);
      if (answer === undefined) res.writeHead(204).end();
      else res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    } catch (err) {
      console.error(err);
      res.writeHead(500).end(String(err));
    }
  });
  const address = `http://127.0.0.1:${await listen(server)}`;
  process.stdin.resume();
  process.stdin.on('end', () => process.exit(0));
  process.stdout.write(`${JSON.stringify({ issuer, admin: address })}\n`);
}

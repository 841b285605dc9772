// An origin with Node's own parser: what it takes for a request, it remembers. Port numbers first, then one line of
// JSON for each line of its input, as soon as no connection is open.
'use strict';
const http = require('node:http');
const readline = require('node:readline');

let seen = [];
const open = new Set();

function serve(insecureHTTPParser) {
  const server = http.createServer({ insecureHTTPParser }, (request, response) => {
    const entry = { method: request.method, target: request.url, body: '', whole: false };
    seen.push(entry);
    request.setEncoding('latin1');
    request.on('data', (data) => { entry.body += data; });
    request.on('error', () => {});
    request.on('end', () => {
      entry.whole = request.complete;
      response.end(Buffer.from(`${entry.method} ${entry.target}\n${entry.body}`, 'latin1'));
    });
  });
  server.on('connection', (socket) => {
    open.add(socket);
    socket.on('close', () => { open.delete(socket); answer(); });
  });
  server.on('clientError', (error, socket) => {
    seen.push({ fault: error.code });
    socket.destroy();
  });
  return new Promise((resolve) => { server.listen(0, '127.0.0.1', () => resolve(server.address().port)); });
}

let asked = 0;
function answer() {
  while (asked > 0 && open.size === 0) {
    asked -= 1;
    console.log(JSON.stringify(seen));
    seen = [];
  }
}

Promise.all([serve(false), serve(true)]).then((ports) => {
  console.log(JSON.stringify(ports));
  const lines = readline.createInterface({ input: process.stdin });
  // Connections that already wait in the backlog are accepted before the next turn but one.
  lines.on('line', () => setImmediate(() => setImmediate(() => { asked += 1; answer(); })));
  lines.on('close', () => process.exit());
});

// The demo app: a dependency-free HTTP server that misbehaves on request. Node 18 or later; start it with
// `PORT=3000 npm start`. Anyone who reaches it can crash it: that is its job, so keep it off the internet.
//
//   /                       a page that says who answers: app, slot, release, pid
//   /api/health             {"status":"ok"} with 200; after /sick 500, after /well 200 again
//   /sick  /well            turn the health check bad, good
//   /crash                  one last line on stderr, then an uncaught exception
//   /exit?code=N            process.exit(N); 0 unless given
//   /hang?ms=N              blocks the event loop: no answers, no SIGTERM handler; for good unless given ms
//   /leak?mb=N&rate=R       takes N MB of memory (200) at R MB a second (50) and keeps it
//   /flood?lines=N&bytes=B  writes N numbered lines (10000) of B bytes (120); &to=err for stderr,
//                           lines=forever until /flood?lines=0
//   /slow?ms=N              answers after N ms (1000)
//
// and answers that a client can check to the last byte:
//
//   /bytes?n=N&seed=S       N bytes (1024): the one at place I, from 0, is (31 I + S) modulo 256
//   /chunked?n=N&ms=M       N lines (10), one every M ms (100), without a Content-Length
//   /sse?n=N&ms=M           N events (10) with ids from 1, one every M ms (100), then one called "end"
//   /ws                     a WebSocket that sends every message back
//   /echo                   takes a body: {"bytes":…,"fnv1a":"…"}, the hash in 32 bits
//   /nonce?id=ID&ms=M       takes a body, then writes "ID SLOT PID" into the file DEMO_NONCES and answers M ms (0) later
//
// GET and POST do the same. Each request is logged in one line, each answer says in X-App who gave it. SIGTERM and SIGINT
// stop it as `next start` does: no new connections, running requests are finished, exit 143 or 130.
//
// DEMO_FAULT makes it bad from its start, with one or more of these and commas in between; requests are counted without
// those for its health:
//
//   crash-at-start  never-listen  hang  sick      hang: it accepts and never answers; sick: as after /sick
//   crash-after=N  hang-after=N  sick-after=N     after N requests
//   errors-after=N                                after N requests all are answered 500, but not those for its health
//   leak=R                                        takes R MB a second

'use strict';

const fs = require('node:fs');
const http = require('node:http');
const websocket = require('./websocket.js');

const port = Number(process.env.PORT || 3000);
// HOSTNAME is not asked: many shells set it to the machine's name. Without HOST: all addresses, IPv6 and IPv4.
const host = process.env.HOST || undefined;
const who = {
  app: process.env.INFISSI_APP || 'demo',
  slot: process.env.INFISSI_SLOT || '-',
  instance: process.env.INFISSI_INSTANCE || '-',
  release: process.env.INFISSI_RELEASE || '-',
  pid: process.pid,
};

const signature = `slot=${who.slot} instance=${who.instance} release=${who.release} pid=${who.pid}`;
const faults = new Map((process.env.DEMO_FAULT || '').split(',').map((fault) => {
  const [name, value] = fault.trim().split('=');
  return [name, Number(value)];
}));

let healthy = !faults.has('sick');
let asked = 0;
let flood = 0;
const leaked = [];

const routes = {
  '/': (query, res) => send(res, 200, page(), 'text/html; charset=utf-8'),
  '/favicon.ico': (query, res) => res.writeHead(204).end(),
  '/api/health': (query, res) => {
    const body = { status: healthy ? 'ok' : 'sick', ...who, uptime: Math.round(process.uptime()) };
    send(res, healthy ? 200 : 500, `${JSON.stringify(body)}\n`, 'application/json');
  },
  '/sick': (query, res) => {
    healthy = false;
    send(res, 200, 'the health check answers 500 from now on\n');
  },
  '/well': (query, res) => {
    healthy = true;
    send(res, 200, 'the health check answers 200 from now on\n');
  },
  '/crash': (query, res) => {
    send(res, 200, 'crashing\n').once('close', () => {
      console.error('last words before the crash');
      throw new Error('crashed on request');
    });
  },
  '/exit': (query, res) => {
    const code = number(query, 'code', 0);
    send(res, 200, `exiting with ${code}\n`).once('close', () => process.exit(code));
  },
  '/hang': (query, res) => {
    const ms = number(query, 'ms', Infinity);
    send(res, 200, `hanging for ${ms === Infinity ? 'good' : `${ms} ms`}\n`).once('close', () => {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
    });
  },
  '/leak': (query, res) => {
    const mb = number(query, 'mb', 200);
    const rate = Math.max(1, number(query, 'rate', 50));
    send(res, 200, `leaking ${mb} MB at ${rate} MB/s\n`);
    leak(mb, rate);
  },
  '/flood': (query, res) => {
    const forever = query.get('lines') === 'forever';
    const lines = forever ? Infinity : number(query, 'lines', 10000);
    const bytes = Math.max(20, number(query, 'bytes', 120));
    const to = query.get('to') === 'err' ? process.stderr : process.stdout;
    send(res, 200, lines ? `flooding: ${forever ? 'lines without end' : `${lines} lines`}\n` : 'no more flooding\n');
    flood += 1;
    write(to, flood, 1, lines, bytes);
  },
  '/slow': (query, res) => {
    const ms = number(query, 'ms', 1000);
    setTimeout(() => send(res, 200, `waited ${ms} ms\n`), ms);
  },
  '/bytes': (query, res) => {
    const bytes = Buffer.alloc(Math.min(number(query, 'n', 1024), 64 << 20));
    const seed = number(query, 'seed', 0);
    for (let at = 0; at < bytes.length; at += 1) bytes[at] = (at * 31 + seed) & 255;
    send(res, 200, bytes, 'application/octet-stream');
  },
  '/chunked': (query, res) => {
    res.writeHead(200, { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' });
    drip(query, res, (at, n) => `line ${at} of ${n}\n`, () => '');
  },
  '/sse': (query, res) => {
    res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    drip(query, res, (at) => `id: ${at}\ndata: ${at}\n\n`, (n) => `event: end\ndata: ${n}\n\n`);
  },
  '/echo': (query, res, req) => {
    let bytes = 0;
    let hash = 0x811c9dc5;
    req.on('data', (data) => {
      bytes += data.length;
      for (const byte of data) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
    });
    req.once('end', () => {
      const fnv1a = hash.toString(16).padStart(8, '0');
      send(res, 200, `${JSON.stringify({ bytes, fnv1a })}\n`, 'application/json');
    });
  },
  '/nonce': (query, res, req) => {
    const id = (query.get('id') || '').replace(/\s/g, '_');
    req.resume();
    req.once('end', () => {
      if (process.env.DEMO_NONCES) fs.appendFileSync(process.env.DEMO_NONCES, `${id} ${who.slot} ${who.pid}\n`);
      setTimeout(() => send(res, 200, `done ${id}\n`), number(query, 'ms', 0));
    });
  },
};
const takesBody = new Set(['/echo', '/nonce']);

const server = http.createServer((req, res) => {
  const started = process.hrtime.bigint();
  const [path, query = ''] = req.url.split('?', 2);
  res.once('finish', () => {
    const ms = Number(process.hrtime.bigint() - started) / 1e6;
    console.log(`${req.method} ${req.url} ${res.statusCode} ${ms.toFixed(1)} ms`);
  });
  res.setHeader('x-app', signature);
  if (path !== '/api/health') {
    asked += 1;
    if (after('crash-after')) throw new Error(`crashed by request ${asked}`);
    if (after('sick-after')) healthy = false;
    if (after('errors-after')) return send(res, 500, 'an error on purpose\n');
  }
  if (faults.has('hang') || after('hang-after')) return undefined;
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
  if (!route) return send(res, 404, 'not found\n');
  if (!['GET', 'HEAD', 'POST'].includes(req.method)) return send(res, 405, 'GET or POST\n');
  if (!takesBody.has(path)) req.resume();
  return route(new URLSearchParams(query), res, req);
});

server.on('upgrade', (req, socket, head) => {
  if (req.url.split('?', 1)[0] !== '/ws') return socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n');
  console.log(`${req.method} ${req.url} 101`);
  return websocket.echo(req, socket, head, { 'X-App': signature });
});

server.on('error', (error) => {
  console.error(`cannot listen on port ${port}: ${error.message}`);
  process.exit(1);
});
if (faults.has('crash-at-start')) throw new Error('crashed at its start');
if (faults.has('leak')) leak(Infinity, faults.get('leak'));
if (faults.has('never-listen')) setInterval(() => console.log('still not listening'), 1000);
else server.listen(port, host, () => {
  const { address, port: bound } = server.address();
  const shown = address === '::' || address === '0.0.0.0' ? 'localhost' : address.includes(':') ? `[${address}]` : address;
  console.log(`listening on http://${shown}:${bound} (${who.app}, ${who.slot}, pid ${who.pid})`);
});

for (const [signal, code] of [['SIGTERM', 143], ['SIGINT', 130]]) {
  process.once(signal, () => {
    console.log(`${signal}: finishing the requests under way`);
    server.close(() => process.exit(code));
    server.closeIdleConnections();
  });
}

function send(res, status, body, type = 'text/plain; charset=utf-8') {
  return res.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
}

function after(fault) {
  return faults.has(fault) && asked > faults.get(fault);
}

// One piece after another, none sooner than its time; the end comes with the last.
function drip(query, res, piece, last) {
  const n = number(query, 'n', 10);
  let at = 0;
  const timer = setInterval(() => {
    at += 1;
    if (at <= n) res.write(piece(at, n));
    if (at >= n) {
      clearInterval(timer);
      res.end(last(n));
    }
  }, number(query, 'ms', 100));
  res.once('close', () => clearInterval(timer));
}

function number(query, name, otherwise) {
  const value = Number(query.get(name) ?? NaN);
  return Number.isFinite(value) && value >= 0 ? value : otherwise;
}

function leak(mb, rate) {
  const end = leaked.length + mb;
  let due = 0;
  const timer = setInterval(() => {
    due += rate / 10;
    for (; due >= 1 && leaked.length < end; due -= 1) {
      // Filled with ones: pages that are never written would take no memory.
      leaked.push(Buffer.alloc(1024 * 1024, 1));
    }
    if (leaked.length >= end) clearInterval(timer);
  }, 100);
}

// A few hundred lines at a time, so that requests are answered in between and a slow reader is waited for.
function write(to, run, first, lines, bytes) {
  if (run !== flood) return;
  let batch = '';
  const last = Math.min(lines, first + 499);
  for (let line = first; line <= last; line += 1) {
    batch += `${`flood ${line} `.padEnd(bytes - 1, '.')}\n`;
  }
  if (last >= lines) return void to.write(batch);
  const next = () => setImmediate(write, to, run, last + 1, lines, bytes);
  if (to.write(batch)) next();
  else to.once('drain', next);
}

function page() {
  const rows = Object.entries(who).map(([name, value]) => `<tr><th>${name}<td>${escape(String(value))}`);
  const links = ['/api/health', '/sick', '/well', '/crash', '/exit?code=3', '/hang', '/leak?mb=400&rate=100',
    '/flood?lines=1000', '/slow?ms=2000', '/chunked', '/sse'].map((path) => `<li><a href="${path.replaceAll('&', '&amp;')}">${path}</a>`);
  return `<!doctype html>
<meta name="viewport" content="width=device-width">
<title>${escape(who.app)}</title>
<style>body { font: 1rem/1.5 system-ui; margin: 2rem } th { text-align: left; padding-right: 1rem }</style>
<h1>${escape(who.app)}</h1>
<table>
${rows.join('\n')}
</table>
<ul>
${links.join('\n')}
</ul>
`;
}

function escape(text) {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

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
// GET and POST do the same. Each request is logged in one line. SIGTERM and SIGINT stop it as `next start`
// does: no new connections, running requests are finished, exit 143 or 130.

'use strict';

const http = require('node:http');

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

let healthy = true;
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
};

const server = http.createServer((req, res) => {
  const started = process.hrtime.bigint();
  const [path, query = ''] = req.url.split('?', 2);
  res.once('finish', () => {
    const ms = Number(process.hrtime.bigint() - started) / 1e6;
    console.log(`${req.method} ${req.url} ${res.statusCode} ${ms.toFixed(1)} ms`);
  });
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
  if (!route) return send(res, 404, 'not found\n');
  if (!['GET', 'HEAD', 'POST'].includes(req.method)) return send(res, 405, 'GET or POST\n');
  req.resume();
  return route(new URLSearchParams(query), res);
});

server.on('error', (error) => {
  console.error(`cannot listen on port ${port}: ${error.message}`);
  process.exit(1);
});
server.listen(port, host, () => {
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
    '/flood?lines=1000', '/slow?ms=2000'].map((path) => `<li><a href="${path.replaceAll('&', '&amp;')}">${path}</a>`);
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

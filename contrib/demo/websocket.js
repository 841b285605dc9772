// The little of RFC 6455 that an echo needs: the handshake, frames of any size, ping and close. No extensions.

'use strict';

const { createHash } = require('node:crypto');

const CLOSE = 8;
const PING = 9;
const PONG = 10;
const LONGEST = 16 * 1024 * 1024;

// Answers the upgrade with these headers and sends every message back, as it came and in its fragments.
function echo(req, socket, head, headers) {
  const key = req.headers['sec-websocket-key'];
  if (!key || (req.headers.upgrade || '').toLowerCase() !== 'websocket') {
    return socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
  }
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  const lines = Object.entries({ Upgrade: 'websocket', Connection: 'Upgrade', 'Sec-WebSocket-Accept': accept, ...headers });
  socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`);
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  socket.on('end', () => socket.end());

  let unread = head;
  const read = () => {
    for (;;) {
      const frame = parse(unread);
      if (frame === 'more') return undefined;
      if (frame === 'wrong') return socket.destroy();
      unread = unread.subarray(frame.length);
      if (frame.opcode === CLOSE) return socket.end(render(0x80 | CLOSE, frame.payload));
      if (frame.opcode === PING) socket.write(render(0x80 | PONG, frame.payload));
      else if (frame.opcode < CLOSE) socket.write(render(frame.first, frame.payload));
    }
  };
  socket.on('data', (data) => {
    unread = Buffer.concat([unread, data]);
    read();
  });
  return read();
}

// The first frame of these bytes, unmasked. A client masks every frame.
function parse(bytes) {
  if (bytes.length < 2) return 'more';
  const short = bytes[1] & 0x7f;
  const start = short === 126 ? 4 : short === 127 ? 10 : 2;
  if (bytes.length < start + 4) return 'more';
  const size = short === 126 ? bytes.readUInt16BE(2) : short === 127 ? Number(bytes.readBigUInt64BE(2)) : short;
  const masked = bytes[1] & 0x80;
  const opcode = bytes[0] & 0x0f;
  if (!masked || size > LONGEST || (bytes[0] & 0x70) || (opcode > 2 && opcode < CLOSE) || opcode > PONG) return 'wrong';
  const length = start + 4 + size;
  if (bytes.length < length) return 'more';
  const mask = bytes.subarray(start, start + 4);
  const payload = Buffer.from(bytes.subarray(start + 4, length));
  for (let at = 0; at < size; at += 1) payload[at] ^= mask[at & 3];
  return { first: bytes[0], opcode, payload, length };
}

function render(first, payload) {
  const size = payload.length;
  const head = Buffer.alloc(size < 126 ? 2 : size < 65536 ? 4 : 10);
  head[0] = first;
  if (size < 126) head[1] = size;
  else if (size < 65536) head.writeUInt16BE(size, 2), (head[1] = 126);
  else head.writeBigUInt64BE(BigInt(size), 2), (head[1] = 127);
  return Buffer.concat([head, payload]);
}

module.exports = { echo };

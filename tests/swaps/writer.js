// Writes numbered lines to both streams, many at once and some in two pieces, until it is told to end.
const { writeSync } = require('node:fs');

const next = [0, 0, 0];
let held = '';

// The length follows from the number: a line that is torn or melted into another one is known by it.
const line = (fd, number) => `${fd} ${number} ${'x'.repeat((number * 37) % 181)};\n`;
const some = (fd, count) => Array.from({ length: count }, () => line(fd, ++next[fd])).join('');

function write() {
  const text = held + some(1, 1 + (next[1] % 9 ? next[1] % 5 : 100));
  const cut = next[1] % 3 ? 0 : 20;
  writeSync(1, text.slice(0, text.length - cut));
  held = text.slice(text.length - cut);
  if (!cut) held = '';
  writeSync(2, some(2, 1));
}

const timer = setInterval(write, 5);
process.on('SIGTERM', () => {
  clearInterval(timer);
  writeSync(1, `${held}1 end ${next[1]}\n`);
  writeSync(2, `2 end ${next[2]}\n`);
  process.exit(0);
});

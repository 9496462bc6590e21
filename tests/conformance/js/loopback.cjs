// Loaded before a server: whatever it asks for, it listens on a loopback port that the system chooses, and that port
// is written into the file $READY.
const { Server } = require('node:net');
const { renameSync, writeFileSync } = require('node:fs');

const listen = Server.prototype.listen;
Server.prototype.listen = function (...given) {
  const listening = given.find((argument) => typeof argument === 'function');
  this.once('listening', () => {
    writeFileSync(`${process.env.READY}.part`, String(this.address().port));
    renameSync(`${process.env.READY}.part`, process.env.READY);
  });
  return listen.call(this, { host: '127.0.0.1', port: 0 }, ...(listening ? [listening] : []));
};

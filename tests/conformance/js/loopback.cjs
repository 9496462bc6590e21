// Loaded before a server: whatever it asks for, it listens on a loopback port, which is written into the file $READY.
// It is the one in $LISTEN_PORT, for a server that comes back where it was, or else one that the system chooses.
const { Server } = require('node:net');
const { renameSync, writeFileSync } = require('node:fs');

const listen = Server.prototype.listen;
Server.prototype.listen = function (...given) {
  const listening = given.find((argument) => typeof argument === 'function');
  this.once('listening', () => {
    writeFileSync(`${process.env.READY}.part`, String(this.address().port));
    renameSync(`${process.env.READY}.part`, process.env.READY);
  });
  return listen.call(this, { host: '127.0.0.1', port: Number(process.env.LISTEN_PORT ?? 0) }, ...(listening ? [listening] : []));
};

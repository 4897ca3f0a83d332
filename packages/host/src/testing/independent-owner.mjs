// A guest owner that has nothing of this project: Node's own modules, QEMU's QMP on a unix socket, and Debian's
// virt-qemu-sev-validate. Written from the SEV API's chapters on certificates, launch sessions and key derivation.
//
//   node independent-owner.mjs session SOCKET FOLDER POLICY     keys and session files from query-sev-capabilities
//   node independent-owner.mjs attest SOCKET FOLDER SECRET [--alter] ARGUMENT...
//                                                               measurement, verdict, secret, cont; ARGUMENTs go to
//                                                               virt-qemu-sev-validate; --alter changes the packet
import { spawnSync } from 'node:child_process';
import { createCipheriv, createECDH, createHmac, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const u32 = (value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
};
const hmac = (key, ...parts) => createHmac('sha256', key).update(Buffer.concat(parts)).digest();
const zeros = Buffer.alloc(0);

/** NIST SP 800-108, counter mode, one block. */
const derive = (key, label, context) =>
  hmac(key, u32(1), Buffer.from(label), Buffer.of(0), context, u32(128)).subarray(0, 16);

async function openQmp(path) {
  const socket = createConnection(path);
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  const read = async () => JSON.parse((await lines.next()).value);
  if (!('QMP' in (await read()))) throw new Error('no greeting');
  const execute = async (command, given) => {
    socket.write(JSON.stringify({ execute: command, arguments: given }));
    for (;;) {
      const message = await read();
      if ('event' in message) continue;
      if ('error' in message) throw new Error(`${message.error.class}: ${message.error.desc}`);
      return message.return;
    }
  };
  await execute('qmp_capabilities');
  return { execute, close: () => socket.destroy() };
}

/** A key of the SEV certificate format: curve number, then x and y, 72 bytes each, least significant byte first. */
function certificateOf(point) {
  const certificate = Buffer.alloc(0x824);
  certificate.writeUInt32LE(1, 0x000);
  certificate.writeUInt32LE(0x1003, 0x008);
  certificate.writeUInt32LE(0x003, 0x00c);
  certificate.writeUInt32LE(2, 0x010);
  Buffer.from(point.subarray(1, 49)).reverse().copy(certificate, 0x014);
  Buffer.from(point.subarray(49)).reverse().copy(certificate, 0x05c);
  certificate.writeUInt32LE(0x1000, 0x414);
  certificate.writeUInt32LE(0x1000, 0x61c);
  return certificate;
}

function pointOf(certificate) {
  const coordinate = (at) => Buffer.from(certificate.subarray(at, at + 48)).reverse();
  return Buffer.concat([Buffer.of(4), coordinate(0x014), coordinate(0x05c)]);
}

async function makeSession(socketPath, folder, policy) {
  const qmp = await openQmp(socketPath);
  const capabilities = await qmp.execute('query-sev-capabilities');
  qmp.close();

  const own = createECDH('secp384r1');
  own.generateKeys();
  const shared = own.computeSecret(pointOf(Buffer.from(capabilities.pdh, 'base64')));
  const [nonce, iv, tek, tik] = Array.from({ length: 4 }, () => randomBytes(16));
  const master = derive(shared, 'sev-master-secret', nonce);
  const kek = derive(master, 'sev-kek', zeros);
  const kik = derive(master, 'sev-kik', zeros);
  const cipher = createCipheriv('aes-128-ctr', kek, iv);
  const wrapped = Buffer.concat([cipher.update(Buffer.concat([tek, tik])), cipher.final()]);
  const session = Buffer.concat([nonce, wrapped, iv, hmac(kik, wrapped), hmac(tik, u32(policy))]);

  const write = (name, content) => writeFileSync(join(folder, name), content, { mode: 0o600 });
  write('godh.b64', certificateOf(own.getPublicKey()).toString('base64'));
  write('session.b64', session.toString('base64'));
  write('tek.bin', tek);
  write('tik.bin', tik);
  return { cbitpos: capabilities.cbitpos };
}

async function attest(socketPath, folder, secret, more) {
  const alter = more[0] === '--alter';
  const qmp = await openQmp(socketPath);
  const before = await qmp.execute('query-status');
  const sev = await qmp.execute('query-sev');
  const { data: measurement } = await qmp.execute('query-sev-launch-measure');
  const [header, payload] = ['header.b64', 'payload.b64'].map((name) => join(folder, name));
  const validate = spawnSync(
    '/usr/bin/python3',
    [
      '/usr/bin/virt-qemu-sev-validate',
      ...['--measurement', measurement, '--policy', sev.policy],
      ...['--api-major', sev['api-major'], '--api-minor', sev['api-minor'], '--build-id', sev['build-id']],
      ...['--tik', join(folder, 'tik.bin'), '--tek', join(folder, 'tek.bin')],
      ...['--inject-secret', `luks-key:${secret}`, '--secret-header', header, '--secret-payload', payload],
      ...more.slice(alter ? 1 : 0),
    ].map(String),
    { encoding: 'utf8' },
  );
  const verdict = { code: validate.status, text: `${validate.stdout}${validate.stderr}`.trim() };
  if (validate.status !== 0) {
    qmp.close();
    return { before, verdict };
  }
  const packet = Buffer.from(readFileSync(payload, 'utf8'), 'base64');
  if (alter) packet[0] ^= 1;
  const given = { 'packet-header': readFileSync(header, 'utf8'), secret: packet.toString('base64') };
  const injected = await qmp.execute('sev-inject-launch-secret', given).catch((error) => error.message);
  if (typeof injected !== 'string') await qmp.execute('cont');
  const after = await qmp.execute('query-sev');
  qmp.close();
  return { before, verdict, injected, after };
}

const [task, socketPath, folder, argument, ...more] = process.argv.slice(2);
const outcome =
  task === 'session'
    ? await makeSession(socketPath, folder, Number(argument))
    : await attest(socketPath, folder, argument, more);
process.stdout.write(JSON.stringify(outcome));

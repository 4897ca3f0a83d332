import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import { InvalidArgumentError, UnavailableError } from '@vouchsafe/sev';
import type { BrokerAddress } from './broker-address.js';

/** By what a guest knows its broker's TLS server. Without either, by the authorities that Node trusts. */
export interface ServerTrust {
  /** Authorities in PEM; no others are trusted then, and the certificate must name the host. */
  readonly authorities?: string;
  /** SHA-256 of the server's certificate in DER (32 bytes); nothing else about the certificate counts then. */
  readonly certificateFingerprint?: Uint8Array;
}

/** @throws InvalidArgumentError for both at once, and for another length than that of SHA-256 */
export function requireServerTrust({ authorities, certificateFingerprint }: ServerTrust): void {
  if (certificateFingerprint === undefined) return;
  if (certificateFingerprint.length !== 32)
    throw new InvalidArgumentError('certificate fingerprint', 'expected the 32 bytes of SHA-256');
  if (authorities !== undefined)
    throw new InvalidArgumentError('server trust', 'give authorities or a fingerprint, not both');
}

/**
 * Opens a TLS connection to the broker and gives it once the server is known to be the right one: nothing of a request is
 * sent before that.
 * @throws UnavailableError when it cannot be reached or is another
 */
export async function connectTls(
  { host, port }: BrokerAddress,
  { authorities, certificateFingerprint: pinned }: ServerTrust,
  signal: AbortSignal,
): Promise<TLSSocket> {
  const socket = connect({
    host,
    port,
    minVersion: 'TLSv1.2',
    ALPNProtocols: ['http/1.1'],
    // With a pinned certificate the handshake still proves that the server holds its key.
    rejectUnauthorized: pinned === undefined,
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(authorities === undefined ? {} : { ca: authorities }),
  });
  const giveUp = () => socket.destroy(new Error('it took too long'));
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('secureConnect', resolve).once('error', reject);
      socket.once('close', () => reject(new Error('the connection was closed')));
    });
    if (pinned !== undefined) requireCertificate(socket, pinned);
    return socket;
  } catch (cause) {
    socket.destroy();
    if (cause instanceof UnavailableError) throw cause;
    const reason = cause instanceof Error ? cause.message : 'failed';
    throw new UnavailableError('key broker', `no TLS connection to ${host}:${port}: ${reason}`, {
      cause,
      hint: 'check the address, and the CA or the fingerprint that the broker is known by',
    });
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}

function requireCertificate(socket: TLSSocket, pinned: Uint8Array): void {
  const certificate = socket.getPeerX509Certificate();
  const found = createHash('sha256')
    .update(certificate?.raw ?? new Uint8Array())
    .digest();
  if (timingSafeEqual(found, pinned)) return;
  throw new UnavailableError(
    'key broker',
    `its certificate is another one: SHA-256 ${found.toString('hex')}`,
    {
      hint: 'if the broker’s certificate was renewed, ask its operator for the new fingerprint',
    },
  );
}

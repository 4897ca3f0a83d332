import { readFile } from 'node:fs/promises';
import { VouchsafeError } from '@vouchsafe/sev';

/** One end of a TCP connection, as `net.Socket` tells it. */
export interface TcpConnection {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
  readonly localAddress?: string | undefined;
  readonly localPort?: number | undefined;
}

export interface CallerRules {
  /** User ids that may call besides root and the agent's own user; `any` lets every process of the guest call. */
  readonly users: readonly number[] | 'any';
}

/** Somebody called who may not: from another machine, or an unprivileged process of this one. */
export class CallerRefusedError extends VouchsafeError {
  readonly code = 'caller-refused';
}

/**
 * Who a TCP connection of this machine comes from. A unix socket needs no such question: the kernel looks at the mode of
 * its file.
 * @throws CallerRefusedError for a caller that is not on loopback, and for a user that may not call; also when the kernel
 * does not tell the user
 */
export async function requireCaller(connection: TcpConnection, { users }: CallerRules): Promise<void> {
  const { remoteAddress } = connection;
  if (remoteAddress === undefined || !isLoopback(remoteAddress))
    throw new CallerRefusedError('this agent answers callers on its own machine only');
  if (users === 'any') return;
  const uid = await userOf(connection);
  if (uid === undefined)
    throw new CallerRefusedError('the kernel does not tell which user calls', {
      hint: 'the agent looks in /proc/net/tcp: mount /proc, or use its unix socket',
    });
  if (uid === 0 || uid === process.getuid?.() || users.includes(uid)) return;
  throw new CallerRefusedError(`user ${uid} may not call this agent`, {
    hint: 'call it as root, or have the agent started with --allow-user',
  });
}

function isLoopback(address: string): boolean {
  const plain = address.replace(/^::ffff:/, '');
  return plain === '::1' || /^127(?:\.\d{1,3}){3}$/.test(plain);
}

/** Rows of `/proc/net/tcp` in this state have an owner; those of connections that end have 0 in its place. */
const established = '01';

/**
 * The user whose process holds the other end. It is looked up while the connection is new; a process that hands its
 * connection on vouches for the one that gets it.
 */
async function userOf(connection: TcpConnection): Promise<number | undefined> {
  const { remoteAddress, remotePort, localAddress, localPort } = connection;
  if (remoteAddress === undefined || remotePort === undefined) return undefined;
  if (localAddress === undefined || localPort === undefined) return undefined;
  for (const [table, form] of [
    ['/proc/net/tcp', kernelAddress4],
    ['/proc/net/tcp6', kernelAddress6],
  ] as const) {
    const [theirs, ours] = [form(remoteAddress), form(localAddress)];
    if (theirs === undefined || ours === undefined) continue;
    const text = await readFile(table, 'latin1').catch(() => '');
    const uid = ownerIn(text, `${theirs}:${portText(remotePort)}`, `${ours}:${portText(localPort)}`);
    if (uid !== undefined) return uid;
  }
  return undefined;
}

/** The owner of the established connection between two ends, as the kernel writes them. */
function ownerIn(table: string, local: string, remote: string): number | undefined {
  for (const row of table.split('\n').slice(1)) {
    const [, from, to, state, , , , uid, , inode] = row.trim().split(/\s+/);
    if (from !== local || to !== remote || state !== established) continue;
    if (uid === undefined || inode === undefined || inode === '0') return undefined;
    return Number(uid);
  }
  return undefined;
}

const portText = (port: number) => port.toString(16).toUpperCase().padStart(4, '0');

/** The kernel writes addresses as words of its own byte order: on x86, of the lower byte first. */
function kernelAddress4(address: string): string | undefined {
  const plain = address.replace(/^::ffff:/, '');
  const parts = plain.split('.').map(Number);
  if (parts.length !== 4) return undefined;
  return hexOf(parts.reverse());
}

function kernelAddress6(address: string): string | undefined {
  if (address === '::1') return `${'0'.repeat(24)}01000000`;
  const plain = kernelAddress4(address);
  return plain === undefined ? undefined : `${'0'.repeat(16)}FFFF0000${plain}`;
}

const hexOf = (bytes: readonly number[]) =>
  bytes.map((byte) => byte.toString(16).toUpperCase().padStart(2, '0')).join('');

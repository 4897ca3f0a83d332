import { concat, u32le } from '../bytes.js';
import { bits, flag } from '../codec/bits.js';
import { bitsField, bytesField } from '../codec/fields.js';
import { structure } from '../codec/structure.js';
import { aes128Ctr, constantTimeEqual, hmacSha256, type KeyBytes } from '../crypto/index.js';
import { InvalidArgumentError, MalformedError, VouchsafeError } from '../errors.js';
import { openSecret, Secret } from '../secret.js';
import type { ApiVersion } from './api-version.js';
import { bindsMeasurement, macContexts } from './measurement.js';

/** Limit of documents, tools and Linux for one packet; some firmware has a larger buffer. */
export const largestSecretPacket = 16 * 1024;

export const secretPacketFlags = bits(
  { name: 'secret packet flags', width: 32, source: 'SEV API 0.24, LAUNCH_SECRET', reserved: 'report' },
  { compressed: flag(0, 'COMPRESSED', 'the plaintext is compressed; no known firmware supports it') },
);

/** Goes before every packet of the secure channel: LAUNCH_SECRET, and the packets of a migration. */
export const secretPacketHeader = structure(
  { name: 'secret packet header', size: 0x34, source: 'SEV API 0.24, LAUNCH_SECRET' },
  {
    flags: bitsField(0x00, secretPacketFlags, 'how the payload is packed', {
      default: { compressed: false },
    }),
    iv: bytesField(0x04, 16, 'initial counter block of the payload'),
    mac: bytesField(0x14, 32, 'HMAC-SHA-256 of the packet under the TIK'),
  },
);

/** What a host relays: the header (0x34 bytes) and the encrypted payload. */
export interface SecretPacket {
  readonly header: Uint8Array;
  readonly payload: Uint8Array;
}

export interface PacketBinding extends ApiVersion {
  /** 16 bytes. */
  readonly tek: KeyBytes;
  /** 16 bytes. */
  readonly tik: KeyBytes;
  /** The 32 bytes of LAUNCH_MEASURE's measurement: a packet fits one launch. Before API 0.17 it is not covered. */
  readonly measurement: Uint8Array;
}

export interface BuildPacketOptions extends PacketBinding {
  /** 16 bytes, never used with this TEK before: the same IV twice gives both plaintexts away. */
  readonly iv: Uint8Array;
  /** A multiple of 16 bytes, 16 KiB at most. */
  readonly plaintext: KeyBytes;
}

/**
 * Encrypts and authenticates a plaintext for LAUNCH_SECRET (SEV API 0.24).
 * @throws InvalidArgumentError for a plaintext that is empty, over 16 KiB or not a multiple of 16 bytes
 */
export async function buildSecretPacket(options: BuildPacketOptions): Promise<SecretPacket> {
  const { plaintext, iv, tek } = options;
  const problem = lengthProblem(plaintext.length);
  if (problem !== undefined) throw new InvalidArgumentError('plaintext', problem);
  requireBinding(options, iv);

  const payload = await aes128Ctr(tek, iv, plaintext instanceof Secret ? openSecret(plaintext) : plaintext);
  const unsigned = secretPacketHeader.build({ iv, mac: new Uint8Array(32) });
  const mac = await packetMac(options, unsigned, payload);
  return { header: secretPacketHeader.build({ iv, mac }), payload };
}

/** The packet was altered, or made under other keys or for another launch. Firmware answers BAD_MEASUREMENT. */
export class PacketRefusedError extends VouchsafeError {
  readonly code = 'packet-refused';

  constructor() {
    super('secret packet: its MAC is wrong: it was altered, or made under other keys or for another launch', {
      hint: 'build a packet for this launch: with its session’s TEK and TIK and its own measurement',
    });
  }
}

/** The packet is authentic and asks for something that no firmware does. Firmware answers UNSUPPORTED. */
export class PacketUnsupportedError extends VouchsafeError {
  readonly code = 'packet-unsupported';

  constructor() {
    super('secret packet: compressed payloads are not supported');
  }
}

/**
 * Checks and decrypts a packet as the firmware does: length, MAC, then flags.
 * @returns the plaintext, as long as the payload
 * @throws MalformedError for a header of another length or a payload whose length is not allowed
 * @throws PacketRefusedError when the MAC is wrong
 * @throws PacketUnsupportedError when the packet is authentic and says that it is compressed
 */
export async function openSecretPacket(packet: SecretPacket & PacketBinding): Promise<Uint8Array> {
  const { payload, tek } = packet;
  const problem = lengthProblem(payload.length);
  if (problem !== undefined) {
    const found = `${payload.length} bytes`;
    throw new MalformedError({
      structure: 'secret packet',
      field: 'payload',
      offset: 0,
      expected: lengthRule,
      found,
    });
  }
  const { flags, iv, mac, raw } = secretPacketHeader.parse(packet.header);
  requireBinding(packet, iv);

  if (!constantTimeEqual(await packetMac(packet, raw, payload), mac)) throw new PacketRefusedError();
  if (flags.compressed) throw new PacketUnsupportedError();
  return aes128Ctr(tek, iv, payload);
}

const lengthRule = 'a non-zero multiple of 16 bytes, 16 KiB at most';

function lengthProblem(length: number): string | undefined {
  const allowed = length > 0 && length <= largestSecretPacket && length % 16 === 0;
  return allowed ? undefined : `expected ${lengthRule}, found ${length} bytes`;
}

function requireBinding({ tek, tik, measurement }: PacketBinding, iv: Uint8Array): void {
  const lengths = { tek: [tek, 16], tik: [tik, 16], iv: [iv, 16], measurement: [measurement, 32] } as const;
  for (const [name, [value, length]] of Object.entries(lengths)) {
    if (value.length !== length)
      throw new InvalidArgumentError(name, `expected ${length} bytes, found ${value.length}`);
  }
}

/**
 * `0x01 ‖ flags ‖ IV ‖ guest length ‖ transport length ‖ payload ‖ measurement`. Flags and IV are the header's bytes as
 * they stand before the MAC; both lengths are the payload's, since nothing is compressed.
 */
function packetMac(binding: PacketBinding, header: Uint8Array, payload: Uint8Array): Promise<Uint8Array> {
  const covered = header.subarray(0, secretPacketHeader.offsetOf('mac'));
  const length = u32le(payload.length);
  const head = concat(Uint8Array.of(macContexts.LAUNCH_SECRET), covered, length, length);
  const measurement = bindsMeasurement(binding) ? binding.measurement : new Uint8Array();
  return hmacSha256(binding.tik, head, payload, measurement);
}

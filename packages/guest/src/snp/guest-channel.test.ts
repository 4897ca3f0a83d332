import { isZero, type Secret, snpGuestRequestErrors, toHex } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import {
  hostOf,
  type Relay,
  ScriptedFirmware,
  scriptedCertificateTable,
} from '../testing/scripted-firmware.js';
import { requestCpuid, requestTscInformation } from './channel-device.js';
import {
  type ChannelFailure,
  type GuestChannel,
  type GuestMessageRequest,
  type GuestRequestOutcome,
  openGuestChannel,
} from './guest-channel.js';

const tscRequest: GuestMessageRequest = { type: 'TSC_INFO_REQ', payload: new Uint8Array(128) };
const silent: GuestRequestOutcome = { firmwareError: 0, vmmError: 0, response: new Uint8Array(4096) };

function open(relay?: Relay, rest: { sequence?: bigint; vmpck?: number; table?: Uint8Array } = {}) {
  const { vmpck = 0, table, ...options } = rest;
  const firmware = new ScriptedFirmware();
  const key = firmware.key(vmpck);
  const waits: number[] = [];
  const channel = openGuestChannel({
    transport: hostOf(firmware, relay, table),
    key,
    vmpck,
    wait: async (ms) => void waits.push(ms),
    ...options,
  });
  return { channel, firmware, key, waits };
}

async function expectFailure(channel: GuestChannel, key: Secret, failure: ChannelFailure): Promise<void> {
  await expect(channel.request(tscRequest)).rejects.toMatchObject({ code: 'guest-channel', failure });
  expect(key.isZeroed, 'the key is wiped').toBe(true);
  await expect(channel.request(tscRequest)).rejects.toMatchObject({ failure: 'key-wiped' });
}

describe('a guest channel', () => {
  it('asks and is answered, with sequence numbers that go on', async () => {
    const sequences: bigint[] = [];
    const { channel, firmware } = open((request, certificates, next) => {
      sequences.push(new DataView(request.buffer).getBigUint64(0x20, true));
      return next(request, certificates);
    });
    for (let i = 0; i < 3; i++)
      expect(await requestTscInformation(channel)).toEqual({ scale: 1n << 32n, offset: 5n, factor: 200 });
    expect(sequences).toEqual([1n, 3n, 5n]);
    expect(firmware.answered).toEqual(['TSC_INFO_REQ', 'TSC_INFO_REQ', 'TSC_INFO_REQ']);
  });

  it('keeps calls at the same time apart', async () => {
    const { channel } = open();
    const all = await Promise.all(Array.from({ length: 5 }, () => requestTscInformation(channel)));
    expect(all.every(({ factor }) => factor === 200)).toBe(true);
  });

  it('asks which values of CPUID are permitted', async () => {
    const { channel } = open();
    const entry = { eaxIn: 1, ecxIn: 0, xcr0In: 0n, xssIn: 0n, eax: 0x12f, ebx: 0, ecx: 0, edx: 0 };
    expect(await requestCpuid(channel, [entry])).toEqual([{ ...entry, eax: 0x2f }]);
  });

  it('starts where the secrets page says that it had got to', async () => {
    const first = open();
    await first.channel.request(tscRequest);
    const key = first.firmware.key(0);
    const second = openGuestChannel({ transport: hostOf(first.firmware), key, vmpck: 0, sequence: 2n });
    await second.request(tscRequest);
    expect(first.firmware.answered).toHaveLength(2);
    for (const sequence of [3n, -2n]) expect(() => open(undefined, { sequence })).toThrow('sequence');
    expect(() => open(undefined, { vmpck: 4 })).toThrow('vmpck');
  });

  it('lets nothing of a message be read by the host', async () => {
    const seen: string[] = [];
    const { channel } = open((request, certificates, next) => {
      seen.push(toHex(request));
      return next(request, certificates);
    });
    const secret = new Uint8Array(64).fill(0x5a);
    const payload = new Uint8Array(96);
    payload.set(secret);
    await channel.request({ type: 'REPORT_REQ', payload });
    expect(seen).toHaveLength(1);
    expect(seen[0]).not.toContain('5a5a5a5a');
  });

  it('refuses to send what is no request, and stays usable', async () => {
    const { channel } = open();
    await expect(channel.request({ ...tscRequest, type: 'TSC_INFO_RSP' })).rejects.toMatchObject({
      code: 'invalid-argument',
    });
    await channel.request(tscRequest);
  });

  it('is wiped by its owner', async () => {
    const { channel, key } = open();
    channel.wipe();
    channel.wipe();
    expect(key.isZeroed).toBe(true);
    await expect(channel.request(tscRequest)).rejects.toMatchObject({ failure: 'key-wiped' });
  });
});

describe('the host’s certificate table', () => {
  it('comes beside the response', async () => {
    const { channel } = open();
    const { certificates = new Uint8Array() } = await channel.requestWithCertificates(tscRequest);
    expect(certificates.subarray(0, scriptedCertificateTable.length)).toEqual(scriptedCertificateTable);
    expect(isZero(certificates.subarray(scriptedCertificateTable.length))).toBe(true);
  });

  it('that is too long is left away: the identical message goes without', async () => {
    const sent: string[] = [];
    const keep: Relay = (request, certificates, next) => {
      sent.push(toHex(request));
      return next(request, certificates);
    };
    const { channel, firmware } = open(keep, { table: new Uint8Array(5 * 4096).fill(1) });
    const answer = await channel.requestWithCertificates(tscRequest);
    expect(answer.certificates).toBeUndefined();
    expect(sent).toHaveLength(2);
    expect(sent[0]).toBe(sent[1]);
    expect(firmware.answered).toHaveLength(1);
    await channel.request(tscRequest);
  });
});

describe('while the host is busy', () => {
  const busy = { ...silent, vmmError: snpGuestRequestErrors.BUSY };

  it('the identical message is sent again', async () => {
    const sent: string[] = [];
    const { channel, waits } = open((request, certificates, next) => {
      sent.push(toHex(request));
      return sent.length < 4 ? Promise.resolve(busy) : next(request, certificates);
    });
    await channel.request(tscRequest);
    expect(new Set(sent).size).toBe(1);
    expect([sent.length, waits]).toEqual([4, [2000, 2000, 2000]]);
  });

  it('for a minute, the key is wiped', async () => {
    const { channel, key, waits } = open(async () => busy);
    await expectFailure(channel, key, 'host-busy');
    expect(waits.reduce((sum, each) => sum + each, 0)).toBe(60_000);
  });
});

/** Each is refused by the guest, which wipes the key: the firmware may have taken the message or not. */
describe('a host that', () => {
  const hosts: [string, ChannelFailure, Relay][] = [
    ['withholds the response', 'wrong-response', async () => silent],
    [
      'alters the response’s payload',
      'altered-response',
      async (request, certificates, next) => {
        const outcome = await next(request, certificates);
        outcome.response[0x60]! ^= 1;
        return outcome;
      },
    ],
    [
      'alters the response’s header',
      'altered-response',
      async (request, certificates, next) => {
        const outcome = await next(request, certificates);
        outcome.response[0x38]! ^= 1;
        return outcome;
      },
    ],
    [
      'answers with the request itself',
      'wrong-response',
      async (request) => ({ ...silent, response: request.slice() }),
    ],
    [
      'alters the request: the firmware refuses it with BAD_MEASUREMENT',
      'firmware-error',
      async (request, certificates, next) => {
        const changed = request.slice();
        changed[0x60]! ^= 1;
        return next(changed, certificates);
      },
    ],
    [
      'sends the request to the firmware twice: the second is refused with INVALID_PARAM',
      'firmware-error',
      async (request, certificates, next) => {
        await next(request, certificates);
        return next(request, certificates);
      },
    ],
    [
      'relabels the request for another VMPCK',
      'firmware-error',
      async (request, certificates, next) => {
        const changed = request.slice();
        changed[0x3c] = 1;
        return next(changed, certificates);
      },
    ],
    ['reports an error of its own', 'host-error', async () => ({ ...silent, vmmError: 3 })],
    [
      'says that its table does not fit when none was asked for',
      'host-error',
      async () => ({ ...silent, vmmError: 1 }),
    ],
    ['claims that the firmware failed', 'firmware-error', async () => ({ ...silent, firmwareError: 0x17 })],
  ];

  it.each(hosts)('%s (%s)', async (_what, failure, relay) => {
    const { channel, key } = open(relay);
    await expectFailure(channel, key, failure);
  });

  it('replays an older response is refused at the sequence number', async () => {
    const kept: GuestRequestOutcome[] = [];
    const { channel, key } = open(async (request, certificates, next) => {
      const [old] = kept;
      if (old !== undefined) return old;
      kept.push(await next(request, certificates));
      return kept[0]!;
    });
    await channel.request(tscRequest);
    await expectFailure(channel, key, 'wrong-response');
  });

  it('answers with a response to another privilege level of the same guest is refused', async () => {
    const { channel, key, firmware } = open(async (request, certificates, next) => {
      await next(request, certificates);
      let foreign: Uint8Array = new Uint8Array();
      const other = openGuestChannel({
        transport: {
          async exchange(bytes) {
            const answer = await firmware.answer(bytes);
            foreign = answer.response.slice();
            return { firmwareError: answer.status, vmmError: 0, response: answer.response };
          },
        },
        key: firmware.key(1),
        vmpck: 1,
      });
      await other.request(tscRequest);
      // Relabelled, so that only its key tells.
      foreign[0x3c] = 0;
      return { ...silent, response: foreign };
    });
    await expectFailure(channel, key, 'altered-response');
  });

  it('gives the response to one kind of request for another is refused at the type', async () => {
    const { channel, key } = open(async () => ({
      ...silent,
      response: await keyAnswer(new ScriptedFirmware()),
    }));
    await expectFailure(channel, key, 'wrong-response');
  });

  it('never answers, with an error, leaves the key wiped', async () => {
    const { channel, key } = open(() => Promise.reject(new Error('the vCPU is gone')));
    await expect(channel.request(tscRequest)).rejects.toThrow('the vCPU is gone');
    expect(key.isZeroed).toBe(true);
  });
});

/** The firmware's own answer to a key request with the first sequence number, under VMPCK0. */
async function keyAnswer(firmware: ScriptedFirmware): Promise<Uint8Array> {
  let response: Uint8Array = new Uint8Array();
  const channel = openGuestChannel({
    transport: {
      async exchange(request) {
        const answer = await firmware.answer(request);
        response = answer.response;
        return { firmwareError: answer.status, vmmError: 0, response };
      },
    },
    key: firmware.key(0),
    vmpck: 0,
  });
  await channel.request({ type: 'KEY_REQ', payload: new Uint8Array(32) });
  return response;
}

it('sequence numbers end before they repeat', async () => {
  const last = open(undefined, { sequence: 0xffff_fffcn });
  // The firmware is not there yet: all that counts is that the guest would have sent it.
  await expectFailure(last.channel, last.key, 'firmware-error');
  const spent = open(undefined, { sequence: 0xffff_fffen });
  await expectFailure(spent.channel, spent.key, 'counter-exhausted');
  expect(spent.firmware.answered).toEqual([]);
});

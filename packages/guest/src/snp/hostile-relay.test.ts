import { createSoftwareMachine, manufactureChip } from '@vouchsafe/firmware';
import { parseSnpReport, type Secret, statusCodes, systemRandom, toHex } from '@vouchsafe/sev';
import { describe, expect, it, onTestFinished } from 'vitest';
import { runGuest } from '../../../host/src/testing/snp-fixture.js';
import { RequestRefusedError } from '../attestation/attestation-device.js';
import type { BootedGuest } from '../firmware/program.js';
import type { SnpServices } from '../firmware/snp-boot.js';
import { channelAttestationDevice } from './channel-device.js';
import { type GuestRequestOutcome, type GuestRequestTransport, openGuestChannel } from './guest-channel.js';

/** Guest messages in the software machine, whose host carries them and may do anything with them. */

const reportData = new Uint8Array(64).fill(0x11);
const tscRequest = { type: 'TSC_INFO_REQ', payload: new Uint8Array(128) } as const;

/** What a guest that runs has for guest messages, for as long as the test does. */
async function guests(count: 1 | 2 = 1): Promise<SnpServices[]> {
  const chip = manufactureChip({ random: systemRandom, generation: 'milan' });
  const machine = createSoftwareMachine({ chip, random: systemRandom, memory: 16 * 1024 * 1024 });
  onTestFinished(() => machine.close());
  const over = new Promise<void>((resolve) => onTestFinished(() => resolve()));
  const services: SnpServices[] = [];
  for (let i = 0; i < count; i++) {
    const found = new Promise<SnpServices>((resolve, reject) => {
      const init = ({ snp }: BootedGuest) => {
        resolve(snp!);
        return over;
      };
      runGuest({ machine, host: machine.host }, init).catch(reject);
    });
    services.push(await found);
  }
  return services;
}

type Relay = (
  request: Uint8Array,
  next: (request: Uint8Array) => Promise<GuestRequestOutcome>,
) => Promise<GuestRequestOutcome>;

/** The channel of privilege level 1, over a host that does as the relay says. */
function levelOne({ transport, lowerKeys }: SnpServices, relay?: Relay, key: Secret = lowerKeys[0]) {
  const seen: Uint8Array[] = [];
  const outcomes: GuestRequestOutcome[] = [];
  const honest = async (request: Uint8Array) => {
    seen.push(request.slice());
    const outcome = await transport.exchange(request, false);
    outcomes.push(outcome);
    return outcome;
  };
  const hostile: GuestRequestTransport = {
    exchange: (request) => (relay === undefined ? honest(request) : relay(request, honest)),
  };
  const channel = openGuestChannel({ transport: hostile, key, vmpck: 1 });
  return { channel, key, seen, outcomes, device: channelAttestationDevice(channel) };
}

describe('code at privilege level 1', () => {
  it('gets reports for its level and those below it, and none for level 0: the firmware refuses', async () => {
    const [services] = await guests();
    const { device } = levelOne(services!);
    for (const vmpl of [1, 2, 3]) {
      const { report } = await device.report({ reportData, vmpl });
      expect(parseSnpReport(report)).toMatchObject({ vmpl, reportData });
    }
    const refusal = device.report({ reportData, vmpl: 0 });
    await expect(refusal).rejects.toThrow(RequestRefusedError);
    await expect(refusal).rejects.toMatchObject({ status: 0x16 });
    await expect(device.deriveKey({ root: 'VEK', fields: {}, vmpl: 0 })).rejects.toMatchObject({
      status: 0x16,
    });
    expect(parseSnpReport((await device.report({ reportData })).report).vmpl, 'its own, unasked').toBe(1);
  });

  it('has a counter of its own', async () => {
    const [services] = await guests();
    const { channel, seen } = levelOne(services!);
    await services!.channel.request(tscRequest);
    await channel.request(tscRequest);
    await services!.channel.request(tscRequest);
    await channel.request(tscRequest);
    expect(seen.map((each) => new DataView(each.buffer).getBigUint64(0x20, true))).toEqual([1n, 3n]);
  });
});

describe('the host of the software machine', () => {
  it('sees ciphertext only', async () => {
    const [services] = await guests();
    const { device, seen, outcomes } = levelOne(services!);
    const { report } = await device.report({ reportData });
    const wire = toHex(seen[0]!) + toHex(outcomes[0]!.response);
    expect(wire).not.toContain('11'.repeat(16));
    expect(wire).not.toContain(toHex(report.subarray(0x90, 0xc0)));
  });

  it.each<[string, number, Relay]>([
    [
      'alters a request',
      statusCodes.BAD_MEASUREMENT,
      (request, next) => next(request.with(0x60, request[0x60]! ^ 1)),
    ],
    [
      'relabels a request for the key of level 0',
      statusCodes.BAD_MEASUREMENT,
      (request, next) => next(request.with(0x3c, 0)),
    ],
    [
      'gives a request another number',
      statusCodes.INVALID_PARAM,
      (request, next) => next(request.with(0x20, 3)),
    ],
    [
      'sends a request twice',
      statusCodes.INVALID_PARAM,
      async (request, next) => {
        await next(request);
        return next(request);
      },
    ],
  ])('that %s is refused by the firmware, and the guest wipes its key', async (_what, status, relay) => {
    const [services] = await guests();
    const { channel, key, outcomes } = levelOne(services!, relay);
    await expect(channel.request(tscRequest)).rejects.toMatchObject({ failure: 'firmware-error' });
    expect(outcomes.at(-1)?.firmwareError).toBe(status);
    expect(key.isZeroed).toBe(true);
    // The other levels have keys of their own.
    await services!.channel.request(tscRequest);
  });

  it('that withholds a response and then replays an older one is refused by the guest', async () => {
    const [services] = await guests();
    const { channel, key, outcomes } = levelOne(services!, async (request, next) => {
      const outcome = await next(request);
      return outcomes.length === 1 ? outcome : outcomes[0]!;
    });
    await channel.request(tscRequest);
    await expect(channel.request(tscRequest)).rejects.toMatchObject({ failure: 'wrong-response' });
    expect(key.isZeroed).toBe(true);
  });

  it('that carries the message of one guest to the firmware as another’s is refused: the keys differ', async () => {
    const [one, other] = await guests(2);
    const message = levelOne(one!, async (request) => {
      const outcome = await other!.transport.exchange(request, false);
      expect(outcome.firmwareError).toBe(statusCodes.BAD_MEASUREMENT);
      return outcome;
    });
    await expect(message.channel.request(tscRequest)).rejects.toMatchObject({ failure: 'firmware-error' });
    await other!.channel.request(tscRequest);
  });
});

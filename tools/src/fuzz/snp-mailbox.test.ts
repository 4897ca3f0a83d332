import { createSoftwareMachine, manufactureChip, type SoftwareMachine } from '@vouchsafe/firmware';
import * as sev from '@vouchsafe/sev';
import { afterAll, describe, expect, it } from 'vitest';
import { structuresOf } from '../exports.js';
import { mutatedInputs, timeoutMs } from './amount.js';
import { mutate, SeededRandom } from './mutate.js';
import { acceptedBytes } from './seeds/structures.js';

const { snpCommands, statusName } = sev;
const memorySize = 2 ** 22;
const places = { buffer: 0x1000, request: 0x2000, context: 0x10_0000, result: 0x10_1000, page: 0x20_0000 };
const asid = 1;
const debugPolicy = 0xb0000n;

const machines: SoftwareMachine[] = [];
afterAll(async () => {
  for (const machine of machines) await machine.close();
});

function newHost() {
  const machine = createSoftwareMachine({
    chip: manufactureChip({ random: sev.systemRandom, generation: 'turin' }),
    random: sev.systemRandom,
    memory: memorySize,
  });
  machines.push(machine);
  const { host } = machine;
  const submit = async (command: number, buffer: Uint8Array, address = places.buffer): Promise<string> => {
    await host.memory.write(places.buffer, buffer);
    const status = await host.submit(command, address);
    return statusName(status) ?? `unknown status ${status}`;
  };
  return { host, submit };
}
type Host = ReturnType<typeof newHost>;

const gctxAddress = BigInt(places.context);

/** A debuggable guest from the beginning. Where a fuzzed command left something in the way, its command is refused. */
async function prepare({ host, submit }: Host, isRunning: boolean): Promise<void> {
  const run = <T extends object, B extends object>(
    name: sev.SnpCommandName,
    structure: sev.Structure<T, B>,
    values: B,
  ) => submit(snpCommands[name], structure.build(values));
  const none = { assigned: false, size: '4K', immutable: false, guestAddress: 0, asid: 0 } as const;
  const assign = async (page: number, guestAddress: number, owner: number) => {
    const reference = { page: { large: false, frame: page / 4096 } };
    await run('SNP_PAGE_RECLAIM', sev.snpPageReclaimBuffer, reference);
    await host.reverseMap.update(page, none);
    await host.reverseMap.update(page, {
      ...none,
      assigned: true,
      immutable: true,
      guestAddress,
      asid: owner,
    });
  };
  await submit(snpCommands.SNP_INIT, new Uint8Array(8));
  await run('SNP_DECOMMISSION', sev.snpGctxBuffer, { gctxAddress });
  await host.reverseMap.update(places.page, none);
  await host.writeBackAndInvalidate();
  await submit(snpCommands.SNP_DF_FLUSH, new Uint8Array(8));
  for (const page of [places.context, places.result]) await assign(page, 0, 0);
  await run('SNP_GCTX_CREATE', sev.snpGctxBuffer, { gctxAddress });
  await run('SNP_LAUNCH_START', sev.snpLaunchStartBuffer, { gctxAddress, policy: debugPolicy });
  await run('SNP_ACTIVATE', sev.snpActivateBuffer, { gctxAddress, asid });
  await assign(places.page, 0x1000, asid);
  const page = { large: false, type: sev.snpPageTypes.SECRETS, imiPage: false };
  await run('SNP_LAUNCH_UPDATE', sev.snpLaunchUpdateBuffer, {
    gctxAddress,
    page,
    pageAddress: BigInt(places.page),
  });
  if (isRunning) await run('SNP_LAUNCH_FINISH', sev.snpLaunchFinishBuffer, { gctxAddress });
}

/** Command buffers as their declarations want them, pointing at the guest's context, its page and the result page. */
function seeds(): { readonly name: string; readonly bytes: Uint8Array }[] {
  const buffers = structuresOf(sev).filter(([name]) => /^snp.*Buffer$/.test(name));
  return buffers.map(([, structure]) => {
    const bytes = acceptedBytes(structure);
    const view = new DataView(bytes.buffer);
    for (const [name, { offset, size }] of Object.entries(structure.fields)) {
      const put = (value: number) => view.setBigUint64(offset, BigInt(value), true);
      if (size !== 8) {
        if (name === 'asid') view.setUint32(offset, asid, true);
      } else if (name === 'gctxAddress') put(places.context);
      else if (/^(?:status|result|response|destination)Address$/.test(name)) put(places.result);
      else if (/^(?:page|source)Address$/.test(name) || name === 'page') put(places.page);
      else if (/Address$/.test(name)) put(places.request);
      else if (name === 'policy') view.setBigUint64(offset, debugPolicy, true);
    }
    return { name: structure.name.replace(/ command$/, ''), bytes };
  });
}

describe('the SNP commands of the software processor', () => {
  it(`answer ${mutatedInputs} mutated buffers with a status code each`, { timeout: timeoutMs }, async () => {
    const random = new SeededRandom(6);
    const commands = Object.entries(snpCommands);
    const buffers = seeds();
    const own = new Map(
      commands.map(([name]) => [name, buffers.filter((each) => name.startsWith(each.name))]),
    );
    const host = newHost();
    const answers = new Map<string, number>();
    for (let i = 0; i < mutatedInputs; i++) {
      if (i % 50 === 0) await prepare(host, random.below(2) === 0);
      const [name, known] = random.pick(commands);
      const fitting = own.get(name)!.length > 0 && random.below(4) > 0 ? own.get(name)! : buffers;
      const given = fitting.map(({ bytes }) => bytes);
      const buffer = random.below(3) === 0 ? random.pick(given) : mutate(given, random).subarray(0, 4096);
      const command = random.below(20) === 0 ? 0x80 + random.below(0x80) : known;
      const address = random.below(50) === 0 ? random.below(2 * memorySize) : places.buffer;
      const answer = await host.submit(command, buffer, address);
      answers.set(answer, (answers.get(answer) ?? 0) + 1);
    }
    expect([...answers.keys()].filter((name) => name.startsWith('unknown'))).toEqual([]);
    expect(answers.get('SUCCESS')).toBeGreaterThan(0);
    expect(answers.size, 'kinds of answer').toBeGreaterThan(13);
  });

  it(
    `answer ${mutatedInputs} mutated guest messages, sealed as they should be or not`,
    { timeout: timeoutMs },
    async () => {
      const random = new SeededRandom(7);
      const { host, submit } = newHost();
      await prepare({ host, submit }, true);
      // The host of this guest may debug it, and so learn its keys.
      const command = {
        gctxAddress,
        sourceAddress: BigInt(places.page),
        destinationAddress: BigInt(places.result),
      };
      expect(await submit(snpCommands.SNP_DBG_DECRYPT, sev.snpDbgBuffer.build(command))).toBe('SUCCESS');
      const { vmpcks } = sev.takeSecretsPage(await host.memory.read(places.result, 4096));
      const types = Object.keys(sev.guestMessageTypes) as sev.GuestMessageType[];
      const payloads = [sev.reportRequest, sev.keyRequests.v1, sev.keyRequests.v2, sev.tscInfoRequest].map(
        (structure) => acceptedBytes(structure),
      );
      payloads.push(sev.buildCpuidRequest([]));
      const request = sev.snpGuestRequestBuffer.build({
        gctxAddress,
        requestAddress: BigInt(places.request),
        responseAddress: BigInt(places.result),
      });
      const counts = [0n, 0n, 0n, 0n];
      const answers = new Map<string, number>();
      for (let i = 0; i < mutatedInputs; i++) {
        const vmpck = random.below(4);
        const whole = random.below(2) === 0;
        const payload = (whole ? random.pick(payloads) : mutate(payloads, random)).slice(0, 4000);
        const channel = { key: vmpcks[vmpck]!, vmpck, sequence: counts[vmpck]! + 1n };
        const type = random.below(8) === 0 ? random.pick(types) : typeFor(payload.length, random);
        const version = payload.length === 40 ? 2 : 1;
        const sealed = await sev.sealGuestMessage({ ...channel, type, version, payload });
        const message = random.below(4) === 0 ? mutate([sealed], random).subarray(0, 4096) : sealed;
        await host.memory.write(places.request, message);
        const status = await submit(snpCommands.SNP_GUEST_REQUEST, request);
        let name = status;
        if (status === 'SUCCESS') {
          counts[vmpck]! += 2n;
          const bytes = await host.memory.read(places.result, 4096);
          const opened = await sev.openGuestMessage({ ...channel, sequence: counts[vmpck]!, bytes });
          const inside = new DataView(opened.payload.buffer, opened.payload.byteOffset).getUint32(0, true);
          name = `STATUS ${sev.guestMessageStatusName(inside) ?? `unknown ${inside}`}`;
        }
        answers.set(name, (answers.get(name) ?? 0) + 1);
      }
      expect([...answers.keys()].filter((name) => name.includes('unknown'))).toEqual([]);
      expect([...answers.keys()].toSorted()).toEqual([
        'BAD_MEASUREMENT',
        'INVALID_PARAM',
        'STATUS INVALID_KEY',
        'STATUS INVALID_PARAM',
        'STATUS SUCCESS',
        'UNSUPPORTED',
      ]);
    },
  );
});

/** The request that payloads of this length are of, as far as that tells. */
function typeFor(length: number, random: SeededRandom): sev.GuestMessageType {
  const byLength: Readonly<Record<number, sev.GuestMessageType>> = {
    16: 'CPUID_REQ',
    32: 'KEY_REQ',
    40: 'KEY_REQ',
    96: 'REPORT_REQ',
    128: 'TSC_INFO_REQ',
  };
  return byLength[length] ?? random.pick(['CPUID_REQ', 'KEY_REQ', 'REPORT_REQ', 'TSC_INFO_REQ']);
}

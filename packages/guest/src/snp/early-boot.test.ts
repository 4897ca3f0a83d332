import {
  ghcb,
  ghcbMsrCode,
  ghcbMsrCodes,
  ghcbMsrFeatures,
  ghcbMsrSevInformation,
  pvalidateStatus,
} from '@vouchsafe/sev';
import { describe, expect, test } from 'vitest';
import { type FakeSnpHostOptions, fakeSnpHost } from '../testing/fake-snp-host.js';
import { openGuestPages, readCpuid, remainingAreas, takeSecrets } from './early-boot.js';
import { callHost } from './ghcb-exit.js';

const ghcbAddress = 0xd000;
const launched = [{ base: 0x1000, size: 0x2000 }];

async function opened(options: FakeSnpHostOptions = {}) {
  const host = fakeSnpHost({ validated: [0x1000, 0x2000], ...options });
  const pages = await openGuestPages({ view: host.view, launched, ghcbAddress });
  host.log.length = 0;
  return { ...host, pages };
}
const page = (base: number) => ({ base, size: 0x1000 });

describe('agreeing with the hypervisor', () => {
  test('asks for versions and features, then shares and registers the GHCB', async () => {
    const { view, log } = fakeSnpHost();
    await openGuestPages({ view, launched, ghcbAddress });
    expect(log).toEqual(['MSR 0x2', 'MSR 0x80', 'MSR 0x14', 'MSR 0x12']);
  });

  const lie = (code: number, answer: (honest: bigint) => bigint): FakeSnpHostOptions => ({
    msr: (request, honest) => (ghcbMsrCode(request) === code ? answer(honest) : honest),
  });
  const versions = (leastVersion: number, mostVersion: number) => () =>
    ghcbMsrSevInformation.build({ code: 1, cBitPosition: 51, leastVersion, mostVersion });

  test.each<[string, FakeSnpHostOptions, string]>([
    ['that speaks version 1 alone', lie(ghcbMsrCodes.SEV_INFORMATION_REQUEST, versions(1, 1)), 'unavailable'],
    [
      'that speaks newer versions alone',
      lie(ghcbMsrCodes.SEV_INFORMATION_REQUEST, versions(3, 4)),
      'unavailable',
    ],
    ['that answers something else', lie(ghcbMsrCodes.SEV_INFORMATION_REQUEST, () => 0x13n), 'unavailable'],
    [
      'without SEV-SNP',
      lie(ghcbMsrCodes.FEATURES_REQUEST, () => ghcbMsrFeatures.build({ code: 0x81, apCreation: true })),
      'unavailable',
    ],
    [
      'that does not share the page',
      lie(ghcbMsrCodes.PAGE_STATE_REQUEST, () => 0x1_0000_0015n),
      'guest-memory',
    ],
    ['that says nothing of the page', lie(ghcbMsrCodes.PAGE_STATE_REQUEST, () => 0n), 'unavailable'],
    ['that wants another GHCB', lie(ghcbMsrCodes.REGISTER_REQUEST, () => 0xe013n), 'unavailable'],
    [
      'that refuses the GHCB',
      lie(ghcbMsrCodes.REGISTER_REQUEST, () => 0xffff_ffff_ffff_f013n),
      'unavailable',
    ],
    // The right contents, as an answer to something else.
    ...[
      ghcbMsrCodes.SEV_INFORMATION_REQUEST,
      ghcbMsrCodes.FEATURES_REQUEST,
      ghcbMsrCodes.PAGE_STATE_REQUEST,
      ghcbMsrCodes.REGISTER_REQUEST,
    ].map((code): [string, FakeSnpHostOptions, string] => [
      `that answers 0x${code.toString(16)} under another number`,
      lie(code, (honest) => honest ^ 0x800n),
      'unavailable',
    ]),
  ])('a hypervisor %s is left alone', async (_name, options, code) => {
    const { view } = fakeSnpHost(options);
    await expect(openGuestPages({ view, launched, ghcbAddress })).rejects.toMatchObject({ code });
  });
});

test('firmware without the sections of SEV-SNP has no keys and no CPUID values', async () => {
  const { view } = fakeSnpHost();
  await expect(takeSecrets(view, [])).rejects.toThrow(/no section SECRETS/);
  await expect(readCpuid(view, [])).rejects.toThrow(/no section CPUID/);
});

describe('memory of the guest’s own', () => {
  test('is asked for, then validated, each page once', async () => {
    const { pages, log } = await opened();
    await pages.accept({ base: 0x1f_f000, size: 0x20_2000 });
    expect(log).toEqual([
      'private 0x1ff000',
      'private 0x200000 2M',
      'private 0x400000',
      'validate 0x1ff000',
      'validate 0x200000 2M',
      'validate 0x400000',
    ]);
  });

  test('is validated in small pages where the host keeps small pages', async () => {
    const { pages, validated } = await opened({ onlySmall: true });
    await pages.accept({ base: 0x20_0000, size: 0x20_0000 });
    expect(validated.size).toBe(2 + 512);
  });

  test('is asked for in as many lists as it takes', async () => {
    const lists: number[] = [];
    const { pages } = await opened({
      pageStates: (honest) => {
        lists.push(honest.entries.length);
        return honest;
      },
    });
    await pages.accept({ base: 0x1_0000, size: 300 * 0x1000 });
    expect(lists).toEqual([253, 47]);
  });

  test('that was validated before is not accepted', async () => {
    const { pages } = await opened({ validated: [0x1000, 0x2000, 0x5000] });
    await expect(pages.accept({ base: 0x4000, size: 0x3000 })).rejects.toMatchObject({
      code: 'guest-memory',
      kind: 'validated-before',
      address: 0x5000,
    });
  });

  test('that PVALIDATE refuses is not accepted', async () => {
    const { pages } = await opened({ pvalidate: () => pvalidateStatus.FAIL_INPUT });
    await expect(pages.accept(page(0x4000))).rejects.toMatchObject({ kind: 'refused', address: 0x4000 });
  });

  test('goes back before it is shared, and was never the guest’s where it was not', async () => {
    const { pages, log } = await opened();
    await pages.share({ base: 0x2000, size: 0x2000 });
    expect(log).toEqual(['rescind 0x2000', 'shared 0x2000', 'shared 0x3000']);
    await pages.accept(page(0x2000));
    expect(log.slice(3)).toEqual(['private 0x2000', 'validate 0x2000']);
  });

  test('that was taken away meanwhile is noticed when it is shared', async () => {
    const { pages, validated } = await opened();
    validated.delete(0x2000);
    await expect(pages.share(page(0x2000))).rejects.toMatchObject({
      kind: 'validated-before',
      address: 0x2000,
    });
  });
});

describe('a host that answers page state changes', () => {
  test.each<[string, NonNullable<FakeSnpHostOptions['pageStates']>, object]>([
    [
      'with half of them',
      (honest) => ({ ...honest, current: 1 }),
      { code: 'guest-memory', kind: 'not-changed', address: 0x5000 },
    ],
    [
      'with an error',
      (honest) => ({ ...honest, exitInfo2: 1n << 40n }),
      { code: 'guest-memory', kind: 'not-changed' },
    ],
    [
      'with another page',
      ({ current, entries }) => ({ current, entries: [entries[0]!, { ...entries[1]!, address: 0x9000 }] }),
      { code: 'malformed' },
    ],
    [
      'with another operation',
      ({ current, entries }) => ({
        current,
        entries: [entries[0]!, { ...entries[1]!, operation: 'SHARED' }],
      }),
      { code: 'malformed' },
    ],
    ['with a shorter list', ({ entries }) => ({ current: 1, entries: [entries[0]!] }), { code: 'malformed' }],
  ])('%s is not believed', async (_name, pageStates, expected) => {
    const { pages, log } = await opened({ pageStates });
    await expect(pages.accept({ base: 0x4000, size: 0x2000 })).rejects.toMatchObject(expected);
    expect(log.filter((line) => line.startsWith('validate'))).toEqual([]);
  });
});

describe('calls to the host', () => {
  test.each([
    [2n, /malformed input/],
    [1n, /exception/],
  ])('that it did not serve (%s) are told so', async (exitInfo1, message) => {
    const { view } = fakeSnpHost({ ghcb: (honest) => ghcb.build({ ...ghcb.parse(honest), exitInfo1 }) });
    const call = callHost(view, ghcbAddress, { exitCode: 0x8000_7777n });
    await expect(call).rejects.toMatchObject({ code: 'host-call', message: expect.stringMatching(message) });
  });

  test('wait for each other, also when one fails', async () => {
    let inside = 0;
    const { view } = fakeSnpHost();
    const original = view.vmgexit;
    view.vmgexit = async (address) => {
      inside += 1;
      expect(inside).toBe(1);
      await original(address);
      inside -= 1;
    };
    const calls = [1n, 2n, 3n].map((rax) => callHost(view, ghcbAddress, { exitCode: 0x8000_7777n, rax }));
    expect((await Promise.all(calls)).map(({ rax }) => rax)).toEqual([1n, 2n, 3n]);
  });
});

test('what is left of memory is between what is taken, and not beyond its end', () => {
  const memory = { base: 0, size: 0x1_0000 };
  expect(remainingAreas(memory, [])).toEqual([memory]);
  expect(
    remainingAreas(memory, [
      { base: 0xf000, size: 0x9000 },
      { base: 0x2000, size: 0x1000 },
      { base: 0x0000, size: 0x1000 },
      { base: 0x2000, size: 0x2000 },
      { base: 0xffff_0000, size: 0x1_0000 },
    ]),
  ).toEqual([
    { base: 0x1000, size: 0x1000 },
    { base: 0x4000, size: 0xb000 },
  ]);
  expect(remainingAreas(memory, [memory])).toEqual([]);
});

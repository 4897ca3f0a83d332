import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { toHex } from '../bytes.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { describeWithVectors, jsonVector, vectors } from '../testing/vectors.js';
import { vcpuSignature, vcpuSignatureOf } from './vcpu-types.js';
import { buildResetVmsa, vmsa } from './vmsa.js';

interface VmsaVector {
  readonly firmware: string;
  readonly cpu_family: number;
  readonly cpu_model: number;
  readonly cpu_stepping: number;
  readonly expect: { readonly file: string; readonly sha256: string; readonly rdx: string };
}

const snakeCase = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** Numbers as both sides write them. */
function sameValue(ours: unknown, theirs: unknown): void {
  if (typeof ours === 'object' && ours !== null) {
    for (const [name, value] of Object.entries(ours))
      sameValue(value, (theirs as Record<string, unknown>)[name]);
  } else {
    expect(BigInt(ours as string | number)).toBe(BigInt(theirs as number));
  }
}

describeWithVectors('VMSA, known answers', () => {
  const known = jsonVector<VmsaVector>('sev/vmsa/vmsa.json');
  const file = vectors(`sev/vmsa/${known.expect.file}`);

  test('builds the page that sevctl builds', () => {
    const { cpu_family: family, cpu_model: model, cpu_stepping: stepping } = known;
    const signature = vcpuSignature({ family, model, stepping });
    expect(signature).toBe(Number(known.expect.rdx));
    const page = buildResetVmsa({ cpu: 'boot', vcpuSignature: signature, fpu: 'zero' });
    expect(toHex(page)).toBe(toHex(file));
    expect(createHash('sha256').update(page).digest('hex')).toBe(known.expect.sha256);
  });

  test('reads the page as sevctl shows it', () => {
    const shown = jsonVector<Record<string, unknown>>('sev/vmsa/vmsa0-show.json');
    const ours = Object.entries(vmsa.toJson(vmsa.parse(file))).map(
      ([name, value]) => [snakeCase(name), value] as const,
    );
    const common = ours.filter(([name]) => name in shown);
    for (const [name, value] of common) sameValue(value, shown[name]);
    // What sevctl knows under names that later specifications gave up: the words after R15, and three others.
    const former = ['sw_exit_code', 'sw_exit_info_1', 'sw_exit_info_2', 'sw_scratch'];
    const unmatched = Object.keys(shown).filter((name) => !common.some(([own]) => own === name));
    expect(unmatched.filter((name) => !name.startsWith('reserved')).sort()).toEqual(
      [...former, 'spec_ctrl', 'valid_bitmap', 'x87_state_gpa'].sort(),
    );
    expect(common.length).toBeGreaterThan(50);
  });
});

const sha384 = (bytes: Uint8Array) => createHash('sha384').update(bytes).digest('hex');

describe('VMSA at reset', () => {
  const epyc = { vcpuSignature: vcpuSignatureOf('EPYC-v4'), fpu: 'set' } as const;

  // The debugging values of the fact sheet on launch digests.
  test.each([
    [
      'boot CPU, features 1',
      { cpu: 'boot', sevFeatures: 1n },
      '77920c4c629ff47e90c0e174fc1ad0eb6fa664f88cd4739488058a8c6cb1a77b3856f55378e9518d0da99452d51c553a',
    ],
    [
      'application CPU, features 1',
      { cpu: 'application', resetAddress: 0x80b004, sevFeatures: 1n },
      '8413b852790765a310d95867a8b00bfca3a802b5a80830044b45e253fe96222657e11e53fcf63eb0e0afd722385bf7b4',
    ],
    [
      'boot CPU of a SEV-ES guest',
      { cpu: 'boot' },
      '69c94ea0886388820b7d37645642a46a4751bf5209f779d6a05337d11698a66cb6021b9aeacaad1bb92475944344f6f8',
    ],
  ] as const)('%s', (_what, options, expected) => {
    expect(sha384(buildResetVmsa({ ...epyc, ...options }))).toBe(expected);
  });

  test('the two forms of the FPU differ in MXCSR and FCW alone', () => {
    const [set, zero] = (['set', 'zero'] as const).map((fpu) =>
      vmsa.parse(buildResetVmsa({ ...epyc, cpu: 'boot', fpu })),
    );
    expect([set!.mxcsr, set!.x87Fcw]).toEqual([0x1f80, 0x37f]);
    expect([zero!.mxcsr, zero!.x87Fcw]).toEqual([0, 0]);
    const json = (parsed: typeof set) => ({ ...vmsa.toJson(parsed!), mxcsr: 0, x87Fcw: 0 });
    expect(json(set)).toEqual(json(zero));
  });

  test.each([undefined, 0, -4, 0.5, 2 ** 32])('an application CPU cannot begin at %s', (resetAddress) => {
    const options = resetAddress === undefined ? {} : { resetAddress };
    expect(() => buildResetVmsa({ ...epyc, cpu: 'application', ...options })).toThrow(InvalidArgumentError);
  });

  test('needs a vCPU signature, which is a number of 32 bits', () => {
    const page = (options: { vcpuSignature?: number }) =>
      buildResetVmsa({ cpu: 'boot', fpu: 'set', ...options });
    expect(() => page({})).toThrow(/depends on it/);
    for (const vcpuSignature of [-1, 0.5, Number.NaN, 2 ** 32])
      expect(() => page({ vcpuSignature })).toThrow('expected an unsigned number of 32 bits');
  });

  test('an application CPU may begin in the upper half of the address space', () => {
    const page = buildResetVmsa({ ...epyc, cpu: 'application', resetAddress: 0xfffff123 });
    expect(vmsa.parse(page)).toMatchObject({ rip: 0xf123n, cs: { base: 0xffff0000n } });
  });
});

describe('VMSA', () => {
  test('every row stands where the specification has it', () => {
    const known = {
      cpl: 0x0cb,
      efer: 0x0d0,
      cr4: 0x148,
      rip: 0x178,
      rsp: 0x1d8,
      rax: 0x1f8,
      gPat: 0x268,
      rcx: 0x308,
    };
    const later = {
      guestExitInfo1: 0x390,
      sevFeatures: 0x3b0,
      xcr0: 0x3e8,
      mxcsr: 0x408,
      x87Fcw: 0x410,
      fpregYmm: 0x570,
    };
    for (const [name, offset] of Object.entries({ ...known, ...later })) {
      expect(vmsa.offsetOf(name as keyof typeof known), name).toBe(offset);
    }
  });

  test('all rows can be left out', () => {
    expect(toHex(vmsa.build({}))).toBe('00'.repeat(4096));
  });

  test('any page is read and rebuilt, except for its reserved bytes, which are noted', () => {
    const page = Uint8Array.from({ length: 4096 }, (_, i) => (i * 7 + 1) & 0xff);
    const parsed = vmsa.parse(page);
    expect(parsed.notes.length).toBe(
      Object.values(vmsa.fields).filter(({ presence }) => presence === 'reserved').length,
    );
    const rebuilt = vmsa.build(parsed);
    for (const row of Object.values(vmsa.fields)) {
      const bytes = (from: Uint8Array) => toHex(from.subarray(row.offset, row.offset + row.size));
      expect(bytes(rebuilt)).toBe(row.presence === 'reserved' ? '00'.repeat(row.size) : bytes(page));
    }
  });

  test.each([0, 4095, 4097, 8192])('%d bytes are malformed', (length) => {
    expect(() => vmsa.parse(new Uint8Array(length))).toThrow(MalformedError);
  });
});

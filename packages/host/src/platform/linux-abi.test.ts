import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { platformStatus } from '@vouchsafe/sev';
import { afterAll, describe, expect, test } from 'vitest';
import {
  getId2Data,
  pdhCertExportData,
  pekCertImportData,
  pekCsrData,
  SEV_ISSUE_CMD,
  sevDeviceCommands,
  sevIssueCommand,
} from './linux-abi.js';

/**
 * Compares our declarations with what a C compiler makes of Debian's linux/psp-sev.h. Each row: the kernel's structure,
 * our declaration, and the kernel's name of each of our fields.
 */
const structures = [
  ['sev_issue_cmd', sevIssueCommand, { command: 'cmd', data: 'data', error: 'error' }],
  ['sev_user_data_pek_csr', pekCsrData, { address: 'address', length: 'length' }],
  [
    'sev_user_data_pdh_cert_export',
    pdhCertExportData,
    {
      pdhAddress: 'pdh_cert_address',
      pdhLength: 'pdh_cert_len',
      chainAddress: 'cert_chain_address',
      chainLength: 'cert_chain_len',
    },
  ],
  [
    'sev_user_data_pek_cert_import',
    pekCertImportData,
    {
      pekAddress: 'pek_cert_address',
      pekLength: 'pek_cert_len',
      ocaAddress: 'oca_cert_address',
      ocaLength: 'oca_cert_len',
    },
  ],
  ['sev_user_data_get_id2', getId2Data, { address: 'address', length: 'length' }],
] as const;

/** The kernel cuts the firmware's 12 bytes of status otherwise: its u32 `flags` begins inside our `owner`. */
const statusFields = {
  apiMajor: 'api_major',
  apiMinor: 'api_minor',
  state: 'state',
  owner: 'flags',
  guestCount: 'guest_count',
};

const header = '/usr/include/linux/psp-sev.h';
/** The header of Linux 6.11 is the first with commands of SEV-SNP, whose names begin otherwise. */
const isInHeader = (name: string) =>
  existsSync(header) && new RegExp(`\\b${name}\\b`).test(readFileSync(header, 'utf8'));
const kernelNames = Object.keys(sevDeviceCommands)
  .map((name) => [name, name.startsWith('SNP_') ? name : `SEV_${name}`] as const)
  .filter(([, kernelName]) => isInHeader(kernelName));

test('the commands of SEV-SNP', () => {
  const { SNP_PLATFORM_STATUS, SNP_COMMIT, SNP_SET_CONFIG, SNP_VLEK_LOAD } = sevDeviceCommands;
  expect([SNP_PLATFORM_STATUS, SNP_COMMIT, SNP_SET_CONFIG, SNP_VLEK_LOAD]).toEqual([9, 10, 11, 12]);
});

const missing = [
  ...(existsSync(header) ? [] : [`${header} (package linux-libc-dev)`]),
  ...(hasCompiler() ? [] : ['gcc']),
];

if (missing.length > 0) {
  test.skipIf(true)(
    `the kernel's header cannot be compiled here, for want of ${missing.join(' and ')}`,
    () => undefined,
  );
} else {
  describe('our declarations of /dev/sev are the kernel’s', () => {
    const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-abi-'));
    afterAll(() => rmSync(folder, { recursive: true, force: true }));
    const kernel = askKernelHeader(folder);

    test('the ioctl number', () => {
      expect(SEV_ISSUE_CMD).toBe(BigInt(kernel['SEV_ISSUE_CMD']!));
      expect(SEV_ISSUE_CMD).toBe(0xc0105300n);
    });

    test('the command numbers', () => {
      expect(kernelNames.length).toBeGreaterThanOrEqual(8);
      for (const [name, kernelName] of kernelNames)
        expect(kernel[kernelName], name).toBe(sevDeviceCommands[name as keyof typeof sevDeviceCommands]);
    });

    test.each(structures)('struct %s', (name, declaration, names) => {
      expect(declaration.size).toBe(kernel[name]);
      for (const [ours, theirs] of Object.entries(names)) {
        const field = declaration.fields[ours]!;
        expect([field.offset, field.size], `${name}.${theirs}`).toEqual([
          kernel[`${name}.${theirs}`],
          kernel[`${name}.${theirs} size`],
        ]);
      }
      expect(Object.keys(names)).toEqual(Object.keys(declaration.fields));
    });

    test('struct sev_user_data_status is the firmware’s PLATFORM_STATUS', () => {
      expect(platformStatus.size).toBe(kernel['sev_user_data_status']);
      for (const [ours, theirs] of Object.entries(statusFields)) {
        expect(platformStatus.fields[ours]!.offset, theirs).toBe(kernel[`sev_user_data_status.${theirs}`]);
      }
      const bytes = new Uint8Array(platformStatus.size);
      bytes[kernel['sev_user_data_status.build']!] = 21;
      const flags = kernel['sev_user_data_status.flags']!;
      new DataView(bytes.buffer).setUint32(flags, kernel['SEV_STATUS_FLAGS_CONFIG_ES']! | 1, true);
      const status = platformStatus.parse(bytes);
      expect(status.config).toEqual({ build: 21, encryptedState: true });
      expect(status.owner).toEqual({ externallyOwned: true });
      expect(status.notes).toEqual([]);
    });
  });
}

function hasCompiler(): boolean {
  try {
    execFileSync('gcc', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Prints sizes, offsets and numbers from C, as `name value` lines. */
function askKernelHeader(folder: string): Readonly<Record<string, number>> {
  const numbers = [
    'SEV_ISSUE_CMD',
    'SEV_STATUS_FLAGS_CONFIG_ES',
    ...kernelNames.map(([, kernelName]) => kernelName),
  ];
  const fields = [
    ...structures.flatMap(([name, , names]) => Object.values(names).map((field) => [name, field] as const)),
    ...[...Object.values(statusFields), 'build'].map((field) => ['sev_user_data_status', field] as const),
  ];
  const names = [...new Set(fields.map(([name]) => name))];
  const lines = [
    ...numbers.map((name) => `printf("${name} %lu\\n", (unsigned long)${name});`),
    ...names.map((name) => `printf("${name} %zu\\n", sizeof(struct ${name}));`),
    ...fields.flatMap(([name, field]) => [
      `printf("${name}.${field} %zu\\n", offsetof(struct ${name}, ${field}));`,
      `printf("${name}.${field} size %zu\\n", sizeof(((struct ${name} *)0)->${field}));`,
    ]),
  ];
  const program = `#include <stddef.h>\n#include <stdio.h>\n#include <sys/ioctl.h>\n#include <linux/psp-sev.h>\nint main(void) {\n${lines.join('\n')}\nreturn 0; }\n`;
  const [source, binary] = [join(folder, 'abi.c'), join(folder, 'abi')];
  writeFileSync(source, program);
  execFileSync('gcc', ['-Wall', '-Werror', '-o', binary, source]);
  const output = execFileSync(binary, { encoding: 'utf8' });
  const rows = output
    .trim()
    .split('\n')
    .map((line): [string, number] => {
      const space = line.lastIndexOf(' ');
      return [line.slice(0, space), Number(line.slice(space + 1))];
    });
  return Object.fromEntries(rows);
}

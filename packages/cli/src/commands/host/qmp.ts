import { type ConfidentialMachine, connectConfidentialMachine } from '@vouchsafe/host';
import { toBase64 } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { describeOutput, readEncoded, readInput, writeOutputs } from '../../frame/files.js';
import { argument, hexOrBase64, number, path, required } from '../../frame/options.js';
import { policyText } from '../policy/explain.js';

/** Commands that talk to one guest over its QMP socket: QEMU’s, or one of host serve. */

const qmp = required(path('--qmp <socket>', 'QMP socket of the guest'));
const packetHeaderSize = 0x34;

async function withGuest<T>(socket: string, work: (guest: ConfidentialMachine) => Promise<T>): Promise<T> {
  const guest = await connectConfidentialMachine(socket);
  try {
    return await work(guest);
  } finally {
    await guest.disconnect();
  }
}

export const status = command({
  description:
    'Shows what the owner needs of a guest that waits to be run: firmware, policy and state (query-sev), and the launch ' +
    'measurement (query-sev-launch-measure).',
  arguments: {},
  options: { qmp },
  examples: [{ line: 'host status --qmp vm.sock', explains: 'as virsh domlaunchsecinfo shows it' }],
  run: (input) =>
    withGuest(input.qmp, async (guest): Promise<Result> => {
      const found = await guest.information();
      const blob = toBase64(await guest.launchMeasurement());
      const { apiMajor, apiMinor, buildId, policy, state } = found;
      return {
        exit: 0,
        json: { ...found, launchMeasureBlob: blob, runState: await guest.status() },
        render(screen) {
          screen.facts([
            ['API', `${apiMajor}.${apiMinor}`],
            ['build', String(buildId)],
            ['policy', policyText(policy)],
            ['state', state],
            ['launch measurement', blob],
          ]);
        },
      };
    }),
});

export const inject = command({
  description: 'Injects a secret packet into a guest that waits to be run (sev-inject-launch-secret).',
  arguments: {
    header: argument('header', 'what secret build wrote'),
    payload: argument('payload', 'what secret build wrote'),
  },
  options: {
    qmp,
    gpa: number('--gpa <n>', 'guest address (default: the secret area that the firmware names)', {
      most: Number.MAX_SAFE_INTEGER,
    }),
  },
  examples: [
    {
      line: 'host inject header.bin payload.bin --qmp vm.sock',
      explains: 'as virsh domsetlaunchsecstate does',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const header = await readEncoded(input.header, 'packet header', io, [packetHeaderSize]);
    const payload = await readInput(input.payload, 'packet payload', io);
    const { gpa } = input;
    return withGuest(input.qmp, async (guest): Promise<Result> => {
      await guest.injectSecret({ header, payload, ...(gpa === undefined ? {} : { guestAddress: gpa }) });
      return {
        exit: 0,
        json: { injected: payload.length },
        render: (screen) => screen.line(`The guest has the secret: ${payload.length} bytes`),
      };
    });
  },
});

export const report = command({
  description:
    'Writes an attestation report of a guest (query-sev-attestation-report), for `attestation-report verify`.',
  arguments: { file: argument('file', 'where to write the 208 bytes') },
  options: { qmp, mnonce: required(hexOrBase64('--mnonce <hex>', 'nonce of the verifier: 16 bytes', 16)) },
  examples: [
    {
      line: 'host report report.bin --qmp vm.sock --mnonce 4fbe0bedbad6c86ae8f68971d103e554',
      explains: 'the verifier draws the nonce',
    },
  ],
  run: (input) =>
    withGuest(input.qmp, async (guest): Promise<Result> => {
      const file = { path: input.file, bytes: await guest.attestationReport(input.mnonce) };
      await writeOutputs([file], { overwrite: true });
      return {
        exit: 0,
        json: { files: [describeOutput(file)] },
        render: (screen) => screen.line(`Wrote ${file.path}: ${file.bytes.length} bytes`),
      };
    }),
});

export const resume = command({
  description:
    'Lets a guest run (cont): at the first time, launching is over and no secret can be injected any more.',
  arguments: {},
  options: { qmp },
  examples: [{ line: 'host resume --qmp vm.sock', explains: 'once the owner has accepted the measurement' }],
  run: (input) =>
    withGuest(input.qmp, async (guest): Promise<Result> => {
      await guest.resume();
      return { exit: 0, json: { running: true }, render: (screen) => screen.line('The guest runs.') };
    }),
});

export const quit = command({
  description: 'Ends a guest (quit).',
  arguments: {},
  options: { qmp },
  examples: [{ line: 'host quit --qmp vm.sock', explains: 'QEMU, or host serve, ends' }],
  run: (input) =>
    withGuest(input.qmp, async (guest): Promise<Result> => {
      await guest.quit();
      return { exit: 0, json: { ended: true }, render: (screen) => screen.line('The guest has ended.') };
    }),
});

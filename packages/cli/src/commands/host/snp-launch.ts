import type { AttestationEvidence } from '@vouchsafe/guest';
import { type QemuLauncherOptions, qemuLauncher, type SnpMachine, softwareLauncher } from '@vouchsafe/host';
import { parseSnpReport, toHex, UnavailableError } from '@vouchsafe/sev';
import type { Result } from '../../frame/command.js';
import { describeOutput, type OutputFile, writeOutputs } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';
import { policyText } from '../policy/explain.js';
import { untilStopped } from '../stay.js';
import { readConfiguration } from './machine.js';
import { openSnpMachine, reportOf } from './snp-machine.js';
import { readSnpConfiguration, type SnpInputs } from './snp-options.js';

/** `host launch --mode snp`: nobody is asked before such a launch, and the guest proves itself afterwards. */

export type SnpLaunchInputs = SnpInputs &
  Parameters<typeof readConfiguration>[0] & {
    readonly software: string | undefined;
    readonly qemu: string | undefined;
    readonly qemuArg: readonly string[];
    readonly authority: string | undefined;
    readonly generation: Parameters<typeof openSnpMachine>[0]['generation'];
    readonly report: string | undefined;
    readonly reportData: Uint8Array | undefined;
    readonly reportCerts: string | undefined;
  };

export async function launchSnp(inputs: SnpLaunchInputs, io: Io): Promise<Result> {
  const configuration = {
    ...(await readConfiguration(inputs, io)),
    ...(await readSnpConfiguration(inputs, io)),
  };
  const { software } = inputs;
  return software === undefined
    ? launchWithQemu(inputs, configuration)
    : launchOnSoftware({ ...inputs, software }, configuration);
}

type Configuration = Parameters<ReturnType<typeof softwareLauncher>['launchSnp']>[0];

/** The guest tells what it is when it is up, and ends with this command. */
async function launchOnSoftware(
  inputs: SnpLaunchInputs & { readonly software: string },
  configuration: Configuration,
): Promise<Result> {
  const { reportData = new Uint8Array(64) } = inputs;
  let evidence: AttestationEvidence | undefined;
  const { machine, certificateTable } = await openSnpMachine(inputs, async (guest) => {
    evidence = await reportOf(guest, reportData);
    const { measurement } = parseSnpReport(evidence.report);
    await guest.print(`my measurement: ${toHex(measurement)}`);
  });
  try {
    const guest = await softwareLauncher(machine.host).launchSnp({ ...configuration, certificateTable });
    const console = await upAndDone(guest);
    if (evidence === undefined) throw new UnavailableError('guest', 'it made no report');
    return await outcome(inputs, configuration.policy, evidence, console);
  } finally {
    await machine.close();
  }
}

/** Lets the guest run until it says that it is up, and ends it. @returns what it printed */
async function upAndDone(guest: SnpMachine): Promise<string[]> {
  const lines: string[] = [];
  const up = new Promise<void>((resolve, reject) => {
    guest.onEvent((event) => {
      if (event.type === 'console') lines.push(event.line);
      if (event.type === 'booted') resolve();
      if (event.type === 'ended')
        reject(new UnavailableError('guest', `it ended before it was up: ${event.detail ?? event.reason}`));
    });
  });
  up.catch(() => undefined);
  try {
    await guest.resume();
    await up;
    return lines;
  } finally {
    await guest.quit();
  }
}

async function outcome(
  { report, reportCerts }: SnpLaunchInputs,
  policy: bigint,
  evidence: AttestationEvidence,
  console: readonly string[],
): Promise<Result> {
  const files: OutputFile[] = [];
  if (report !== undefined) files.push({ path: report, bytes: evidence.report });
  if (reportCerts !== undefined && evidence.certificateTable !== undefined)
    files.push({ path: reportCerts, bytes: evidence.certificateTable });
  await writeOutputs(files, { overwrite: true });
  const measurement = toHex(parseSnpReport(evidence.report).measurement);
  return {
    exit: 0,
    json: {
      mode: 'snp',
      policy: `0x${policy.toString(16)}`,
      measurement,
      console,
      files: files.map(describeOutput),
    },
    render(screen) {
      screen.line(`launched a SEV-SNP guest with policy ${policyText(policy)}`);
      for (const line of console) screen.line(`guest: ${line}`);
      for (const file of files) screen.line(`Wrote ${file.path}: ${file.bytes.length} bytes`);
    },
  };
}

/** On a real host the guest runs until it ends, and is asked for its report inside. */
async function launchWithQemu(
  { qemu, qemuArg }: SnpLaunchInputs,
  configuration: Configuration,
): Promise<Result> {
  const options: QemuLauncherOptions = {
    ...(qemu === undefined ? {} : { program: qemu }),
    moreArguments: qemuArg,
  };
  const guest = await qemuLauncher(options).launchSnp(configuration);
  const ended = new Promise<void>((resolve) => {
    guest.onEvent(({ type }) => {
      if (type === 'ended') resolve();
    });
  });
  try {
    await guest.resume();
  } catch (error) {
    await guest.quit();
    throw error;
  }
  const { policy } = configuration;
  return {
    exit: 0,
    json: { mode: 'snp', policy: `0x${policy.toString(16)}` },
    render: (screen) => screen.line(`a SEV-SNP guest with policy ${policyText(policy)} runs`),
    async stay(stop) {
      await Promise.race([ended, untilStopped(stop, async () => undefined)]);
      await guest.quit();
    },
  };
}

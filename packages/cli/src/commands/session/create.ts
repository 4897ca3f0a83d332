import { join } from 'node:path';
import {
  createLaunchSession,
  explainGuestPolicy,
  InvalidArgumentError,
  isOnP384,
  openSecret,
  type PlatformChain,
  p384KeyOf,
  parseGuestPolicy,
  requireAccepted,
  systemRandom,
  toBase64,
  verifyPlatformChain,
} from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { describeOutput, type OutputFile, writeOutputs } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';
import { argumentList, flag, number, text, withDefault, word } from '../../frame/options.js';
import { chainOptions, readChain, readOwner, trustedRoots } from '../chain/input.js';
import { policyText, showPolicy } from '../policy/explain.js';

/** No debugging, no key sharing, no migration: it suits SEV as it stands, and SEV-ES with bit 2 added. */
const carefulPolicy = 0xb;

export const create = command({
  description:
    'Verifies a platform and makes a launch session for it: NAME_godh.b64 and NAME_session.b64 for the host, ' +
    'NAME_tik.bin and NAME_tek.bin to keep. Use it for one launch only: a second one lets an old measurement pass.',
  arguments: { files: argumentList('chain', 'certificates of the platform, in any usual packaging') },
  options: {
    ...chainOptions,
    policy: withDefault(
      number('--policy <n>', 'guest policy', word),
      carefulPolicy,
      policyText(carefulPolicy),
    ),
    name: withDefault(text('-n, --name <name>', 'beginning of the four files’ names'), 'vm'),
    out: withDefault(text('--out <dir>', 'folder to write to'), '.'),
    allowDebug: flag('--allow-debug', 'allow a policy that lets the host debug the guest'),
    allowUnverified: flag('--allow-unverified', 'do not verify the chain: anyone could hold the keys'),
    force: flag('--force', 'replace the keys of an earlier session of this name'),
  },
  examples: [
    {
      line: 'session create sev.chain --ca ask_ark.cert --policy 0xb --name web',
      explains: 'a session for a plain SEV guest',
    },
    {
      line: 'session create pdh.cert --allow-unverified',
      explains: 'what sevctl session does, which verifies nothing',
    },
  ],
  async run(input, { io, progress }): Promise<Result> {
    const { policy, name, out } = input;
    requireNoDebug(policy, input.allowDebug);
    if (name.includes('/') || name === '')
      throw new InvalidArgumentError('--name', 'expected a file name; --out names the folder');
    progress.step('verifying the platform');
    const chain = await readChain(input, io);
    const appraisal = input.allowUnverified ? undefined : await appraise(chain, input, io);
    if (chain.pdh === undefined)
      throw new InvalidArgumentError('chain', 'holds no PDH certificate, which sessions are made with');
    const pdh = p384KeyOf(chain.pdh);
    if (!(await isOnP384(pdh)))
      throw new InvalidArgumentError('PDH certificate', 'its key is not a point on P-384');

    const session = await createLaunchSession({ pdh, policy, random: systemRandom });
    const base64 = (bytes: Uint8Array) => new TextEncoder().encode(toBase64(bytes));
    const at = (suffix: string) => join(out, `${name}_${suffix}`);
    const files: OutputFile[] = [
      { path: at('godh.b64'), bytes: base64(session.godhCertificate) },
      { path: at('session.b64'), bytes: base64(session.session) },
      { path: at('tik.bin'), bytes: openSecret(session.tik), secret: true },
      { path: at('tek.bin'), bytes: openSecret(session.tek), secret: true },
    ];
    await writeOutputs(files, { overwrite: input.force }).finally(() => {
      session.tik.zero();
      session.tek.zero();
    });
    const open = explainGuestPolicy(policy).filter(({ concern }) => concern === 'open');
    return {
      exit: 0,
      json: { root: appraisal?.root ?? null, policy, files: files.map(describeOutput), open },
      render(screen) {
        if (appraisal?.root === undefined) {
          screen.line(screen.paint('warning', 'The platform was not verified: anyone could hold the keys.'));
        } else {
          const meaning = appraisal.root.kind === 'development' ? 'warning' : 'strong';
          screen.line(`The platform is genuine: ${screen.paint(meaning, appraisal.root.name)}.`);
        }
        for (const { path, secret } of files)
          screen.line(`Wrote ${path}${secret === true ? ' (keep it secret)' : ''}`);
        screen.line(`Launch with policy=${policyText(policy)}; the session fits no other.`);
        if (open.length === 0) return;
        screen.line();
        screen.line('This policy leaves open to the host:');
        showPolicy(screen, open);
      },
    };
  },
});

function requireNoDebug(policy: number, allowed: boolean): void {
  if (parseGuestPolicy(policy).noDebug || allowed) return;
  throw new InvalidArgumentError(
    '--policy',
    `${policyText(policy)} lets the host read the guest’s memory (NODBG is not set)`,
    {
      hint: `set bit 0 (${policyText((policy | 1) >>> 0)}), or say --allow-debug`,
    },
  );
}

async function appraise(
  chain: PlatformChain,
  input: { root: string | undefined; oca: string | undefined },
  io: Io,
) {
  const roots = await trustedRoots(input.root, io);
  return requireAccepted(await verifyPlatformChain(chain, { roots, owner: await readOwner(input.oca, io) }));
}

import {
  explainSnpPolicy,
  idAuthentication,
  idBlock,
  idKeyDigest,
  parseIdAuthentication,
  parseIdBlock,
  toHex,
} from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { decodeFile, readInput } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';
import { argumentList } from '../../frame/options.js';
import { policyText, showPolicy } from '../policy/explain.js';

export const show = command({
  description:
    'Shows an ID block, its authentication information, or both: what the guest must be, and whose keys say so. ' +
    'Nothing is verified.',
  arguments: {
    files: argumentList('file', 'ID block (96 bytes) or authentication information (4096), in any encoding'),
  },
  options: {},
  examples: [{ line: 'id-block show id-block.bin id-auth.bin', explains: 'everything that they say' }],
  async run({ files }, { io }): Promise<Result> {
    const shown: Shown[] = [];
    for (const file of files) shown.push(await read(file, io));
    return {
      exit: 0,
      json: { files: shown.map(({ json }) => json) },
      render(screen) {
        for (const [i, { title, facts, policy }] of shown.entries()) {
          if (i > 0) screen.line();
          screen.line(screen.paint('strong', title));
          screen.facts(facts);
          if (policy === undefined) continue;
          screen.line();
          showPolicy(screen, explainSnpPolicy(policy));
        }
      },
    };
  },
});

interface Shown {
  readonly title: string;
  readonly facts: readonly (readonly [name: string, value: string])[];
  readonly policy?: bigint;
  readonly json: unknown;
}

async function read(file: string, io: Io): Promise<Shown> {
  const content = await readInput(file, 'ID block', io);
  const { bytes } = decodeFile(content, file, [idBlock.size, idAuthentication.size]);
  return bytes.length === idBlock.size ? ofBlock(bytes, file) : ofAuthentication(bytes, file);
}

function ofBlock(bytes: Uint8Array, file: string): Shown {
  const block = parseIdBlock(bytes, { offset: 0, path: file });
  const { launchDigest, familyId, imageId, guestSvn, policy } = block;
  return {
    title: `${file}: ID block`,
    facts: [
      ['launch digest', toHex(launchDigest)],
      ['family id', toHex(familyId)],
      ['image id', toHex(imageId)],
      ['guest SVN', String(guestSvn)],
      ['policy', policyText(policy.word)],
    ],
    policy: policy.word,
    json: {
      file,
      kind: 'id-block',
      launchDigest: toHex(launchDigest),
      familyId: toHex(familyId),
      imageId: toHex(imageId),
      guestSvn,
      policy: policyText(policy.word),
      statements: explainSnpPolicy(policy.word),
    },
  };
}

async function ofAuthentication(bytes: Uint8Array, file: string): Promise<Shown> {
  const { idKey, author } = parseIdAuthentication(bytes, { offset: 0, path: file });
  const keyHash = toHex(await idKeyDigest(idKey));
  const authorHash = author === undefined ? null : toHex(await idKeyDigest(author.key));
  return {
    title: `${file}: ID authentication information`,
    facts: [
      ['ID key digest', keyHash],
      ['author key digest', authorHash ?? 'no author key'],
    ],
    json: { file, kind: 'id-auth', idKeyDigest: keyHash, authorKeyDigest: authorHash },
  };
}

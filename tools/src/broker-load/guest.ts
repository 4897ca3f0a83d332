import {
  flattenedJwe,
  jsonText,
  openFlattenedJwe,
  rcarChallenge,
  rcarCookie,
  rcarPaths,
  rcarVersion,
  reportDataOf,
  snpEvidenceJson,
  type TeeKeyPair,
} from '@vouchsafe/protocol';
import { openSecret } from '@vouchsafe/sev';
import type { SoftwareChip } from '../software-chip/chip.js';
import type { Answer, Question } from './requests.js';

export type Ask = (question: Question) => Promise<Answer>;

/** Challenge and attestation of a guest with this key. @returns the session's cookie @throws Error for any other answer than 200 */
export async function attest(ask: Ask, chip: SoftwareChip, key: TeeKeyPair): Promise<string> {
  const challenge = await good(ask, {
    method: 'POST',
    path: rcarPaths.auth,
    headers: json,
    body: JSON.stringify({ version: rcarVersion, tee: 'snp', 'extra-params': '' }),
  });
  const [cookie = ''] = challenge.headers['set-cookie']?.[0]?.split(';', 1) ?? [];
  if (!cookie.startsWith(`${rcarCookie}=`)) throw new Error('a challenge without a cookie');
  const { nonce } = rcarChallenge.parseText(challenge.text);
  const body = await answerTo(nonce, chip, key);
  await good(ask, { method: 'POST', path: rcarPaths.attest, headers: { ...json, cookie }, body });
  return cookie;
}

/** What a guest sends to a challenge: fresh evidence that binds its key. */
async function answerTo(nonce: string, chip: SoftwareChip, { publicKey }: TeeKeyPair): Promise<string> {
  const runtimeData = { nonce, 'tee-pubkey': publicKey };
  const report = await chip.report(await reportDataOf(runtimeData));
  const primary = snpEvidenceJson({ report, certificates: chip.certificates });
  return jsonText({
    'runtime-data': runtimeData,
    'tee-evidence': { primary_evidence: primary, additional_evidence: '' },
  });
}

/** Asks for a resource in an attested session. */
export function askFor(ask: Ask, cookie: string, path: string): Promise<Answer> {
  return ask({ method: 'GET', path: `${rcarPaths.resource}/${path}`, headers: { cookie } });
}

/** The secret in an answer that released it. */
export async function opened({ text }: Answer, key: TeeKeyPair): Promise<string> {
  const secret = await openFlattenedJwe(flattenedJwe.parseText(text), key);
  return new TextDecoder().decode(openSecret(secret));
}

/** @throws Error for any other answer than 200 */
export async function good(ask: Ask, question: Question): Promise<Answer> {
  const answer = await ask(question);
  if (answer.status === 200 || answer.status === 201) return answer;
  throw new Error(`${question.method} ${question.path}: ${answer.status} ${answer.text}`);
}

const json = { 'content-type': 'application/json' };

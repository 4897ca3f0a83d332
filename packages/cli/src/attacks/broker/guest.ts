import type { Broker } from '@vouchsafe/broker';
import type { AttestationDevice } from '@vouchsafe/guest';
import {
  flattenedJwe,
  generateTeeKey,
  type JsonValue,
  jsonText,
  openFlattenedJwe,
  rcarChallenge,
  rcarPaths,
  rcarToken,
  rcarVersion,
  reportDataOf,
  snpEvidenceJson,
  type TeeKeyPair,
} from '@vouchsafe/protocol';
import { certificateTableGuids, openSecret } from '@vouchsafe/sev';
import { type Answer, ask, required } from './answers.js';

/** Whoever speaks to a broker in the name of the honest machine, request by request: the machine itself, or its host. */
export interface BrokerGuest {
  readonly key: TeeKeyPair;
  challenge(at?: Broker): Promise<Challenged>;
  /** The body of an answer to a challenge, with a fresh report. */
  evidence(nonce: string, changes?: EvidenceChanges): Promise<string>;
  attest(cookie: string, evidence: string, at?: Broker): Promise<Answer>;
  /** Challenge and attestation, which must succeed. */
  attested(at?: Broker): Promise<Attested>;
  /** Asks for a secret. @param proof headers that say who has attested */
  get(path: string, proof: Proof, at?: Broker): Promise<Answer>;
  /** The secret in an answer. @throws UnavailableError or MalformedError when this key does not open it */
  open(answer: Answer): Promise<string>;
}

export interface Challenged {
  readonly cookie: string;
  readonly nonce: string;
}

export interface Attested extends Challenged {
  readonly evidence: string;
  readonly token: string;
}

export type Proof = { readonly cookie: string } | { readonly authorization: string };

export interface EvidenceChanges {
  /** What the report binds, where that is not what is sent. */
  readonly bound?: { readonly nonce?: string; readonly 'tee-pubkey'?: TeeKeyPair['publicKey'] };
  readonly initData?: string;
  /** Privilege level that the report names; 0 unless told otherwise. */
  readonly vmpl?: number;
  /** Changes what the report says after it was signed. */
  readonly report?: (bytes: Uint8Array) => Uint8Array;
}

export interface BrokerGuestParts {
  readonly broker: Broker;
  readonly device: AttestationDevice;
  /** Of the device's chip, in DER. */
  readonly vcek: Uint8Array;
  readonly initData: string;
}

/** With a key of its own, made now. */
export async function newGuest({ broker, device, vcek, initData }: BrokerGuestParts): Promise<BrokerGuest> {
  const key = await generateTeeKey();

  async function evidence(nonce: string, changes: EvidenceChanges = {}): Promise<string> {
    const runtimeData = { nonce, 'tee-pubkey': key.publicKey };
    const reportData = await reportDataOf({ ...runtimeData, ...changes.bound });
    const { report } = await device.report({ reportData, vmpl: changes.vmpl ?? 0 });
    const primary: JsonValue = snpEvidenceJson({
      report: changes.report?.(report) ?? report,
      certificates: [{ kind: 'VCEK', guid: certificateTableGuids.VCEK, bytes: vcek }],
    });
    return jsonText({
      'init-data': { format: 'toml', body: changes.initData ?? initData },
      'runtime-data': runtimeData,
      'tee-evidence': { primary_evidence: primary, additional_evidence: '' },
    });
  }

  async function challenge(at = broker): Promise<Challenged> {
    const body = JSON.stringify({ version: rcarVersion, tee: 'snp', 'extra-params': {} });
    const { cookie, text } = required(await ask(at, { method: 'POST', url: rcarPaths.auth, body }));
    return { cookie, nonce: rcarChallenge.parseText(text).nonce };
  }

  const attest = (cookie: string, body: string, at = broker) =>
    ask(at, { method: 'POST', url: rcarPaths.attest, headers: { cookie }, body });

  return {
    key,
    challenge,
    evidence,
    attest,
    async attested(at) {
      const challenged = await challenge(at);
      const body = await evidence(challenged.nonce);
      const { text } = required(await attest(challenged.cookie, body, at));
      return { ...challenged, evidence: body, token: rcarToken.parseText(text).token };
    },
    get: (path, proof, at = broker) =>
      ask(at, { method: 'GET', url: `${rcarPaths.resource}/${path}`, headers: { ...proof } }),
    async open({ text }) {
      const secret = await openFlattenedJwe(flattenedJwe.parseText(text), key);
      return new TextDecoder().decode(openSecret(secret));
    },
  };
}

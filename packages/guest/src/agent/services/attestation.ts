import {
  AttestationAgentService,
  RuntimeMeasurementResult,
  type ServedMethod,
  serveMethods,
} from '@vouchsafe/protocol';
import {
  type Appraisal,
  Appraiser,
  equalBytes,
  InvalidArgumentError,
  parseSnpReport,
  requireAccepted,
  toHex,
} from '@vouchsafe/sev';
import type { KeyBrokerClient } from '../../broker/broker-client.js';
import type { ReportSource } from '../../broker/evidence.js';
import { initDataChecks } from '../init-data-checks.js';
import { UnimplementedError } from '../unimplemented.js';
import { evidenceOver, passportText } from './evidence.js';

export interface AttestationServiceOptions {
  /** Absent on SEV and SEV-ES, whose guests get no reports. */
  readonly device: ReportSource | undefined;
  readonly broker: Pick<KeyBrokerClient, 'passport'> | undefined;
  /** Whether the configuration turns the event log on. */
  readonly eventLog: boolean;
  /** Whether tokens of the kind `coco_as` are asked of another service than the key broker. */
  readonly otherAttestationService?: boolean;
}

/** The methods that gRPC, ttrpc and REST share. */
export interface AttestationCalls {
  evidence(runtimeData: Uint8Array): Promise<string>;
  /** Of devices other than the processor: none, so it is empty. */
  additionalEvidence(runtimeData: Uint8Array): Promise<string>;
  token(kind: string): Promise<string>;
  extend(): Promise<RuntimeMeasurementResult>;
  bindInitData(digest: Uint8Array): Promise<void>;
  readonly tee: string;
}

/** What the attestation agent answers. */
export function attestationCalls(options: AttestationServiceOptions): AttestationCalls {
  const { device, broker, eventLog, otherAttestationService = false } = options;
  const requireDevice = () => device ?? refuseWithoutDevice();

  return {
    tee: device === undefined ? 'sev' : 'snp',
    evidence: async (runtimeData) => evidenceOver(requireDevice(), runtimeData),
    async additionalEvidence() {
      return '';
    },
    async token(kind) {
      if (kind !== 'kbs' && kind !== 'coco_as')
        throw new InvalidArgumentError('token type', 'expected kbs or coco_as');
      if (kind === 'coco_as' && otherAttestationService) {
        throw new UnimplementedError('this agent asks no attestation service apart from its key broker', {
          hint: 'ask for the token type kbs: its token is good for relying parties too',
        });
      }
      if (broker === undefined) {
        throw new UnimplementedError('this agent has no key broker to attest to', {
          hint: 'start it with --broker, or with [token_configs.kbs] url in its configuration',
        });
      }
      const { token, key } = await broker.passport();
      return kind === 'kbs' ? passportText(token, key) : token;
    },
    async extend() {
      return eventLog ? RuntimeMeasurementResult.NOT_SUPPORTED : RuntimeMeasurementResult.NOT_ENABLED;
    },
    async bindInitData(digest) {
      requireAccepted(await appraiseInitData(requireDevice(), digest));
    },
  };
}

/** The service of a Kata agent, over these calls. */
export function attestationService(calls: AttestationCalls): ServedMethod[] {
  const utf8 = (text: string) => new TextEncoder().encode(text);
  return serveMethods(AttestationAgentService, {
    getEvidence: async ({ runtimeData }) => ({ evidence: utf8(await calls.evidence(runtimeData)) }),
    getAdditionalEvidence: async ({ runtimeData }) => ({
      evidence: utf8(await calls.additionalEvidence(runtimeData)),
    }),
    getToken: async ({ tokenType }) => ({ token: utf8(await calls.token(tokenType)) }),
    extendRuntimeMeasurement: async () => ({ result: await calls.extend() }),
    async bindInitData({ digest }) {
      await calls.bindInitData(digest);
      return {};
    },
    getTeeType: async () => ({ tee: calls.tee }),
    getAdditionalTees: async () => ({ additionalTees: [] }),
  });
}

/**
 * Holds the digest of init-data against HOST_DATA of a fresh report. HOST_DATA has 32 bytes: longer digests are cut,
 * shorter ones have zeros behind them.
 * @throws InvalidArgumentError for no digest, and for more than 64 bytes
 */
export async function appraiseInitData(device: ReportSource, digest: Uint8Array): Promise<Appraisal> {
  if (digest.length === 0 || digest.length > 64)
    throw new InvalidArgumentError('digest of init-data', `expected 1 to 64 bytes, found ${digest.length}`);
  const { report } = await device.report({ reportData: new Uint8Array(64) });
  const { hostData } = parseSnpReport(report);
  const expected = new Uint8Array(hostData.length);
  expected.set(digest.subarray(0, expected.length));
  const appraiser = new Appraiser('init-data', initDataChecks);
  appraiser.report('init-data.host-data', equalBytes(hostData, expected), {
    expected: toHex(expected),
    found: toHex(hostData),
  });
  return appraiser.finish();
}

function refuseWithoutDevice(): never {
  throw new UnimplementedError('a guest of this generation gets no attestation reports', {
    hint: 'SEV and SEV-ES guests are attested before they start; SEV-SNP guests need an attestation device',
  });
}

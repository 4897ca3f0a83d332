import type { KdsClient } from '@vouchsafe/kds';
import type { LaunchRequest, MeasurementEvidence } from '@vouchsafe/protocol';
import { type PlatformRoot, type RandomSource, toBase64, verdict } from '@vouchsafe/sev';
import { NotFoundError } from '../administration/refused.js';
import type { ReleaseDemands } from '../policy/demands.js';
import type { PolicyStore } from '../policy/policy-store.js';
import type { RulesInForce } from '../policy/rules.js';
import type { Json } from '../record/entry.js';
import { launchDigestsOf, referenceValuesAt } from '../reference-values/in-force.js';
import { inTransaction } from '../state/database.js';
import type { BrokerState } from '../state/open.js';
import { databaseSessionStore } from './database-sessions.js';
import { type KnownDigest, type LaunchKind, ownerOptionsOf, parseLaunchKind } from './launch-kind.js';
import { launchRelease, launchSessionName, recordMeasurement } from './launch-release.js';
import { createGuestOwner, type GuestOwner } from './owner.js';
import type { SessionStore } from './sessions.js';

export interface BrokerOwnersOptions {
  readonly state: BrokerState;
  readonly policies: PolicyStore;
  readonly rules: RulesInForce;
  readonly demands: ReleaseDemands;
  readonly roots: readonly PlatformRoot[];
  /** Case A; without it, only case B is answered. */
  readonly keyService?: Pick<KdsClient, 'cek' | 'issuerOf'>;
  readonly random: RandomSource;
}

/** The guest owner of every kind of launch that a broker expects: over its database, its policies and its record. */
export interface BrokerOwners {
  /** @throws NotFoundError for a kind that there is not */
  ownerOf(launch: string): Promise<GuestOwner>;
  /** Refuses a kind of launch that no owner could work with. @throws InvalidArgumentError */
  check(launch: string, kind: LaunchKind): Promise<void>;
  /** Ends sessions that nobody answered. */
  sweep(): Promise<void>;
}

export function brokerOwners(options: BrokerOwnersOptions): BrokerOwners {
  const { state, policies } = options;
  const sessions = databaseSessionStore(state.db, state.keys, {
    onOpen(tx, { launchId, launch = '', policy, chipId, platform, root, platformChecks }) {
      state.record.append(tx, {
        kind: 'launch',
        subject: `launch ${launch}`,
        body: {
          event: 'session',
          session: launchSessionName(launchId),
          accepted: true,
          policy,
          ...(chipId === undefined ? {} : { chipId }),
          platform: { ...platform },
          root: { ...root },
          checks: platformChecks as unknown as Json,
        },
      });
    },
  });
  /** By name; as long as the version is the newest. */
  const owners = new Map<string, { readonly version: string; readonly owner: GuestOwner }>();

  return {
    async ownerOf(launch) {
      const stored = await policies.find(state.db.query, launch, 'launch');
      if (stored === undefined) throw new NotFoundError(`launch ${launch}`);
      const kind = parseLaunchKind(stored.content);
      const referenced = await referencedDigests(options, kind);
      const version = [stored.id, stored.version, ...referenced.map(({ digest }) => digest)].join(' ');
      const known = owners.get(launch);
      if (known?.version === version) return known.owner;
      const owner = await makeOwner(options, sessions, launch, kind, referenced);
      owners.set(launch, { version, owner });
      return owner;
    },
    async check(launch, kind) {
      await makeOwner(options, sessions, launch, kind);
    },
    sweep: () => sessions.expire(state.clock.now()),
  };
}

/** What the documents that the kind names list now; they change, and their periods end, without the kind's doing. */
async function referencedDigests(
  { state, rules }: BrokerOwnersOptions,
  { references }: LaunchKind,
): Promise<KnownDigest[]> {
  if (references.length === 0) return [];
  const now = state.clock.now();
  const known = await rules.use(state.db.query, now, async ({ documents }) =>
    launchDigestsOf(referenceValuesAt(documents, now), references),
  );
  return known.map(({ value, label = 'reference value' }) => ({ name: label, digest: value }));
}

async function makeOwner(
  options: BrokerOwnersOptions,
  sessions: SessionStore,
  launch: string,
  kind: LaunchKind,
  referenced: readonly KnownDigest[] = [],
): Promise<GuestOwner> {
  const { state, rules, demands, roots, keyService, random } = options;
  const ownOptions = ownerOptionsOf(kind, referenced);
  const digests = 'digests' in ownOptions.images ? ownOptions.images.digests : [];
  const owner = await createGuestOwner({
    ...ownOptions,
    roots,
    ...(keyService === undefined ? {} : { keyService }),
    secrets: launchRelease({ state, rules, demands, launch, kind, digests }),
    random,
    now: state.clock.now,
    sessions,
    launch,
  });

  /** What was refused is in the record, too; what was accepted is there already. */
  return {
    ...owner,
    async openSession(request: LaunchRequest) {
      const answer = await owner.openSession(request);
      if (answer.bundle === undefined) {
        const { pdh, certificateChain, case: situation, apiMajor, apiMinor, buildId } = request;
        await state.record.appendAlone({
          kind: 'launch',
          subject: `launch ${launch}`,
          body: {
            event: 'platform',
            accepted: false,
            appraisal: answer.appraisal as unknown as Json,
            evidence: {
              case: situation,
              platform: { apiMajor, apiMinor, buildId },
              pdh: toBase64(pdh),
              certificateChain: toBase64(certificateChain),
            },
          },
        });
      }
      return answer;
    },
    async appraiseMeasurement(evidence: MeasurementEvidence) {
      const answer = await owner.appraiseMeasurement(evidence);
      // A denial by policy has its entries already: the evidence itself was accepted.
      const refused = !verdict(answer.appraisal).accepted;
      const denied = answer.appraisal.checks.some(({ id }) => id === 'release.decision');
      if (refused && !denied)
        await inTransaction(state.db, async (tx) =>
          recordMeasurement(
            tx,
            { state, launch },
            { evidence, appraisal: answer.appraisal, accepted: false },
          ),
        );
      return answer;
    },
  };
}

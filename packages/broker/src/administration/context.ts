import type { RandomSource } from '@vouchsafe/sev';
import type { BrokerMetrics } from '../http/metrics.js';
import type { PolicyStore } from '../policy/policy-store.js';
import type { RulesInForce } from '../policy/rules.js';
import type { OutsideCopy } from '../record/outside-copy.js';
import type { ReferenceIssuer } from '../reference-values/signed-document.js';
import type { BrokerState } from '../state/open.js';
import type { KeyRing } from '../token/signing-keys.js';
import type { AdminTokenQuery } from './admin-token-repository.js';
import type { AdminTokenRepository, Principal } from './admin-tokens.js';

/** What administering works on. */
export interface AdministrationContext {
  readonly state: BrokerState;
  readonly policies: PolicyStore;
  readonly rules: RulesInForce;
  readonly tokens: AdminTokenRepository<AdminTokenQuery>;
  readonly keys: KeyRing;
  /** Where the newest checkpoint is kept outside, if anywhere. */
  readonly outside: OutsideCopy | undefined;
  /** The broker itself, as the issuer of what comes through Trustee's endpoint. */
  readonly ownIssuer: ReferenceIssuer;
  readonly random: RandomSource;
  readonly metrics: BrokerMetrics;
}

/** How the record names whoever did something. */
export const byWhom = ({ kind, id, name }: Principal): string => `${name} (${kind} ${id})`;

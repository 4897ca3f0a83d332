import { type Appraisal, timeText, type VerifiedEndorsement, type X509RevocationList } from '@vouchsafe/sev';

/**
 * What revocation lists say of the authorities behind a guest's key. `good`: a list by the root, current at `asOf`, does
 * not name them. `revoked`: an authentic list names one. `unknown`: there was no list to ask.
 */
export interface RevocationVerdict {
  readonly status: 'good' | 'revoked' | 'unknown';
  /** ISO 8601; the last moment for which the status holds: now, or when the newest list ended. */
  readonly asOf?: string;
}

/**
 * Asks the lists that an endorsement was verified with. Where none of them is current any more, the verdict of the newest
 * stands as of its end, for the broker to judge by its grace. The endorsement must have been made with the revocation
 * mode `if-available` or `require`; under `skip` the status is `unknown`.
 * @param lists the lists that were given to `endorse`
 * @param now milliseconds since 1970
 */
export async function revocationVerdict(
  endorsement: VerifiedEndorsement,
  lists: readonly Pick<X509RevocationList, 'nextUpdate'>[],
  now: number,
): Promise<RevocationVerdict> {
  const { appraisal } = await endorsement.at(now);
  if (isGood(appraisal)) return { status: 'good', asOf: timeText(now) };
  if (isRevoked(appraisal)) return { status: 'revoked' };
  const ends = lists.flatMap(({ nextUpdate }) =>
    nextUpdate !== undefined && nextUpdate <= now ? [nextUpdate] : [],
  );
  for (const end of [...new Set(ends)].sort((a, b) => b - a).slice(0, mostLists)) {
    const then = await endorsement.at(end - 1);
    if (isGood(then.appraisal)) return { status: 'good', asOf: timeText(end) };
  }
  return { status: 'unknown' };
}

/** A guest may send lists along, and each that is asked costs signatures. */
const mostLists = 8;

/** A root that nobody trusts has lists of its own, and they say what it likes. */
function isGood(appraisal: Appraisal): boolean {
  return passed(appraisal, 'endorsement.ark.root') && passed(appraisal, 'endorsement.revocation');
}

/** The check fails for a chain that no list can be asked about, too: that one has no root, or nothing signed by it. */
function isRevoked(appraisal: Appraisal): boolean {
  const known =
    passed(appraisal, 'endorsement.ark.root') && passed(appraisal, 'endorsement.ask.ark-signature');
  return known && statusOf(appraisal, 'endorsement.revocation') === 'fail';
}

const passed = (appraisal: Appraisal, id: string): boolean => statusOf(appraisal, id) === 'pass';

const statusOf = ({ checks }: Appraisal, id: string) => checks.find((check) => check.id === id)?.status;

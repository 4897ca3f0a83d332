import type { TcbVersion } from '@vouchsafe/sev';

/** What becomes of the sealed volume when the machine is switched on again, with one thing changed at a time. */
export interface Restart {
  readonly id: string;
  /** What is different, for people. */
  readonly what: string;
  /** Which of the owner's releases is launched, by its security version; the first launch's when absent. */
  readonly guestSvn?: number;
  readonly otherChip?: boolean;
  /** The TCB version of other firmware than before, or the one that the host has the chip vouch for. */
  readonly tcb?: { readonly of: 'firmware' | 'reported'; readonly version: TcbVersion };
  /** The ID block is signed with a key of the host's. */
  readonly hostSigns?: boolean;
  readonly expected: Ending;
}

/** The volume opens, or who refuses and at which status or error. */
export type Ending =
  | { readonly opens: true }
  | { readonly opens: false; readonly refusedBy: 'processor' | 'guest' | 'owner'; readonly at: string };

export const sameEnding = (a: Ending, b: Ending): boolean =>
  a.opens || b.opens ? a.opens === b.opens : a.refusedBy === b.refusedBy && a.at === b.at;

/** The owner's release at the first launch, to whose security version the volume is sealed. */
export const firstGuestSvn = 2;

const wrongKey = { opens: false, refusedBy: 'guest', at: 'wrong-sealing-key' } as const;

/** @param tcb of the first launch */
export function restartsAfter(tcb: TcbVersion): readonly Restart[] {
  const lower = { ...tcb, snp: tcb.snp - 1 };
  return [
    { id: 'restart', what: 'nothing is different', expected: { opens: true } },
    {
      id: 'update',
      what: 'the owner’s next release: another command line, guest SVN 3',
      guestSvn: 3,
      expected: { opens: true },
    },
    { id: 'other-chip', what: 'another chip', otherChip: true, expected: wrongKey },
    {
      id: 'lower-reported-tcb',
      what: 'the host has the chip vouch for a lower TCB version (SNP_CONFIG)',
      tcb: { of: 'reported', version: lower },
      expected: wrongKey,
    },
    {
      id: 'older-firmware',
      what: 'older firmware in the same chip',
      tcb: { of: 'firmware', version: lower },
      expected: { opens: false, refusedBy: 'processor', at: 'SNP_INIT_EX: BAD_SVN' },
    },
    {
      id: 'other-id-key',
      what: 'the same images, with an ID block that the host signed',
      hostSigns: true,
      expected: wrongKey,
    },
    {
      id: 'lower-guest-svn',
      what: 'the owner’s release before, guest SVN 1',
      guestSvn: 1,
      expected: { opens: false, refusedBy: 'processor', at: 'MSG_KEY_REQ: INVALID_PARAM' },
    },
  ];
}

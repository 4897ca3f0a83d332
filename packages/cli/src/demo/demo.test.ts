import { beforeAll, describe, expect, it } from 'vitest';
import { demoAuthority } from '../testing/demo-authority.js';
import { build, runProcess } from '../testing/process.js';
import type { NarrationEvent } from './narration.js';
import { restartsAfter, sameEnding } from './snp/restarts.js';

interface Document {
  readonly scenario: string;
  readonly accepted: boolean;
  readonly events: readonly NarrationEvent[];
  readonly seen: readonly { readonly subject: string; readonly host: string; readonly guest: string }[];
}

interface SnpDocument extends Document {
  readonly restarts: readonly {
    readonly id: string;
    readonly opens: boolean;
    readonly refusedBy?: string;
    readonly at?: string;
    readonly asExpected: boolean;
  }[];
}

/** The demos run processes of their own, so that it is the built command that is run here: once, with all launches. */
describe('vouchsafe demo', () => {
  let exit: number;
  let document: { readonly accepted: boolean; readonly demos: readonly [Document, Document, SnpDocument] };
  beforeAll(async () => {
    await build();
    const authority = await demoAuthority();
    const outcome = await runProcess(['demo', '--json', ...authority.option]);
    authority.remove();
    expect(outcome.stderr).toBe('');
    exit = outcome.exit;
    document = JSON.parse(outcome.stdout) as typeof document;
  });

  it('tells the three launches, and each ends well', () => {
    expect(exit).toBe(0);
    expect(document.demos.map(({ scenario, accepted }) => [scenario, accepted])).toEqual([
      ['sev', true],
      ['sev-es', true],
      ['snp', true],
    ]);
    for (const { seen } of document.demos) {
      const disk = seen.find(({ subject }) => subject === 'disk');
      expect(disk).toMatchObject({ host: 'an encrypted volume', guest: expect.stringContaining('unlocked') });
    }
  });

  it('shows messages with their size and digest, and names the root', () => {
    for (const { events } of document.demos) {
      const messages = events.filter((event) => event.kind === 'message');
      expect(messages.length).toBeGreaterThan(10);
      for (const each of messages) {
        expect(each).toMatchObject({
          size: expect.any(Number),
          digest: expect.stringMatching(/^[0-9a-f]{16}$/),
        });
      }
      const accepted = events.filter(
        ({ kind, ...event }) => kind === 'step' && 'at' in event && event.at === 'owner',
      );
      expect(JSON.stringify(accepted)).toContain('root: Vouchsafe Development, Milan');
    }
  });

  it('snp: the guest is the one that the owner computed, and what the host carries is for others to read', () => {
    const [, , { seen, events }] = document.demos;
    const of = (subject: string) => seen.find((each) => each.subject === subject);
    const { host, guest } = of('launch digest')!;
    expect(guest).toMatch(/^in its report: [0-9a-f]{96}$/);
    expect(host.replace('in the ID block: ', '')).toBe(guest.replace('in its report: ', ''));
    expect(of('a write to it')?.host).toContain('page fault');
    const told = events.flatMap((event) => (event.kind === 'message' ? [event] : []));
    for (const what of ['MSG_REPORT_REQ', 'MSG_REPORT_RSP', 'MSG_KEY_REQ', 'MSG_KEY_RSP']) {
      expect(told.find((each) => each.what.startsWith(what))?.readableBy).toBe('guest and processor');
    }
    expect(told.find((each) => each.from === 'owner' && each.what.includes('disk key'))?.readableBy).toBe(
      'the guest alone',
    );
  });

  it('snp: the sealed disk opens after a restart and an update, and for nothing that is less or other', () => {
    const [, , { restarts }] = document.demos;
    expect(restarts.every(({ asExpected }) => asExpected)).toBe(true);
    expect(
      Object.fromEntries(
        restarts.map(({ id, opens, refusedBy, at }) => [id, opens || `${refusedBy}, ${at}`]),
      ),
    ).toEqual({
      restart: true,
      update: true,
      'other-chip': 'guest, wrong-sealing-key',
      'lower-reported-tcb': 'guest, wrong-sealing-key',
      'older-firmware': 'processor, SNP_INIT_EX: BAD_SVN',
      'other-id-key': 'guest, wrong-sealing-key',
      'lower-guest-svn': 'processor, MSG_KEY_REQ: INVALID_PARAM',
    });
  });
});

describe('the restarts of demo snp', () => {
  it('count as expected with the same refusal by the same, and not otherwise', () => {
    const opens = { opens: true } as const;
    const refused = { opens: false, refusedBy: 'guest', at: 'wrong-sealing-key' } as const;
    expect(sameEnding(opens, opens)).toBe(true);
    expect(sameEnding(refused, { ...refused })).toBe(true);
    expect(sameEnding(opens, refused)).toBe(false);
    expect(sameEnding(refused, opens)).toBe(false);
    expect(sameEnding(refused, { ...refused, refusedBy: 'processor' })).toBe(false);
    expect(sameEnding(refused, { ...refused, at: 'MSG_KEY_REQ: INVALID_PARAM' })).toBe(false);
  });

  it('change one thing each', () => {
    const tcb = { bootloader: 4, tee: 0, snp: 24, microcode: 219 };
    for (const { id, what, expected, ...changed } of restartsAfter(tcb)) {
      expect(Object.keys(changed).length, `${id}: ${what}, ${expected.opens}`).toBeLessThanOrEqual(1);
    }
  });
});

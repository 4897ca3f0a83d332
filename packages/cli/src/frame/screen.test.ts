import type { Appraisal } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { type RunOptions, recordingIo } from '../testing/run.js';
import { appraisalResult, showAppraisal } from './appraisal.js';
import { terminalProgress } from './progress.js';
import { harmless, type Screen, screenOn } from './screen.js';

const esc = String.fromCharCode(27);

function shown(work: (screen: Screen) => void, options: RunOptions = {}): string {
  const { io, output } = recordingIo(options);
  work(screenOn(io.stdout, io.env));
  return output().stdout;
}

describe('text of others', () => {
  it('cannot steer the terminal, and stays readable', () => {
    expect(harmless(`a${esc}]0;title\u0007\u009b2J\tb\nc – é`)).toBe('a\\x1b]0;title\\x07\\x9b2J\tb\nc – é');
  });

  it('is shown that way in a verdict', () => {
    const check = { id: 'x', title: 'x', status: 'fail', kind: 'authenticity' } as const;
    const appraisal = {
      subject: 'evidence',
      checks: [{ ...check, expected: `${esc}[2J`, found: `${esc}[1m` }],
    };
    const text = shown((screen) => showAppraisal(screen, appraisal));
    expect(text).not.toContain(esc);
    expect(text.match(/\\x1b/g)).toHaveLength(3);
  });
});

describe('the screen', () => {
  const painted = (options: RunOptions) => shown((screen) => screen.line(screen.paint('bad', 'no')), options);

  it('colours on a terminal only, and never against NO_COLOR', () => {
    expect(painted({})).toBe('no\n');
    expect(painted({ terminal: 80 })).toBe(`${esc}[31mno${esc}[39m\n`);
    expect(painted({ terminal: 80, env: { NO_COLOR: '1' } })).toBe('no\n');
    expect(painted({ terminal: 80, env: { NO_COLOR: '' } })).toContain(esc);
    expect(painted({ terminal: 80, env: { TERM: 'dumb' } })).toBe('no\n');
  });

  it('draws tables without borders, in plain columns', () => {
    const table = shown((screen) =>
      screen.table(
        ['a', 'name'],
        [
          ['1', 'x'],
          ['22', 'y'],
        ],
      ),
    );
    expect(table).toBe('a   name\n1   x\n22  y\n');
  });

  it('keeps tables within a terminal', () => {
    const long = 'word '.repeat(60);
    const table = shown((screen) => screen.table(['a', 'text'], [['1', long]]), {
      terminal: 60,
      env: { NO_COLOR: '1' },
    });
    for (const line of table.split('\n')) expect(line.length).toBeLessThanOrEqual(60);
  });

  it('tells progress on a terminal only', () => {
    for (const [terminal, expected] of [
      [undefined, ''],
      [80, `\r${esc}[Kworking\r${esc}[K`],
    ] as const) {
      const { io, output } = recordingIo(terminal === undefined ? {} : { terminal });
      const progress = terminalProgress(io);
      progress.step('working');
      progress.clear();
      expect(output()).toEqual({ stdout: '', stderr: expected });
    }
  });
});

describe('an appraisal', () => {
  const check = { id: 'a.b', title: 'A is B', kind: 'authenticity' } as const;
  const root = { name: 'Vouchsafe Development, Milan', kind: 'development', fingerprint: 'ab' } as const;
  const authentic: Appraisal = {
    subject: 'evidence',
    root,
    checks: [{ ...check, status: 'pass', expected: 'B', found: 'B' }],
  };
  const accepted: Appraisal = {
    ...authentic,
    checks: [...authentic.checks, { ...check, id: 'c', kind: 'expectation', status: 'pass' }],
  };
  const refused: Appraisal = {
    subject: 'evidence',
    checks: [
      ...authentic.checks,
      { ...check, id: 'a.c', status: 'fail', expected: 'C', found: 'D', hint: 'ask again' },
    ],
  };

  it('is told with its word and its root', () => {
    expect(shown((screen) => showAppraisal(screen, authentic))).toMatch(
      /^authentic: evidence\n {2}root: Vouchsafe Development, Milan \(a development root/,
    );
    expect(shown((screen) => showAppraisal(screen, accepted))).toMatch(/^accepted: evidence/);
    expect(appraisalResult(accepted).exit).toBe(0);
  });

  it('warns of a development root by colour too', () => {
    const text = shown((screen) => showAppraisal(screen, authentic), { terminal: 200 });
    expect(text).toContain(`${esc}[33mVouchsafe Development, Milan`);
  });

  it('names what failed before the table of all checks', () => {
    const text = shown((screen) => showAppraisal(screen, refused));
    expect(text).toMatch(/^refused: evidence\n\n {2}failed: A is B \(a\.c\)/);
    expect(text).toMatch(/expected\s+C\n.*found\s+D\n.*what to do\s+ask again/);
    expect(text.indexOf('failed:')).toBeLessThan(text.indexOf('pass'));
    expect(appraisalResult(refused)).toMatchObject({ exit: 1, json: { accepted: false, root: null } });
  });
});

import { describe, expect, it } from 'vitest';
import { findChecks, switchedOff } from './find.js';

/** The source with each of its checks off, one after the other. */
const mutants = (text: string) => findChecks('x.ts', text).map((site) => switchedOff(text, site));

describe('checks are found and switched off', () => {
  it.each([
    ['a guard', 'if (a) throw new E();', ['if (false) throw new E();']],
    [
      'each part of a guard',
      'if (a || (b || c)) { log(); throw new E(); }',
      [
        'if (false || (b || c)) { log(); throw new E(); }',
        'if (a || (false || c)) { log(); throw new E(); }',
        'if (a || (b || false)) { log(); throw new E(); }',
      ],
    ],
    ['a throw without a guard', 'if (a) b(); else throw new E();', ['if (a) b(); else {}']],
    [
      'a refusal by status',
      "function f() { if (a) return statusCodes.BAD_SIGNATURE; if (b) return statusCodes.SUCCESS; if (c) return 'INVALID_GUEST'; }",
      [
        "function f() { if (false) return statusCodes.BAD_SIGNATURE; if (b) return statusCodes.SUCCESS; if (c) return 'INVALID_GUEST'; }",
        "function f() { if (a) return statusCodes.BAD_SIGNATURE; if (b) return statusCodes.SUCCESS; if (false) return 'INVALID_GUEST'; }",
      ],
    ],
    [
      'return false',
      'function f() { if (a) return false; return b; }',
      ['function f() { if (false) return false; return b; }'],
    ],
    [
      'a reader that refuses',
      "if (a) refuse('x', 'y'); const v = m.get(k) ?? input.refuse('x', 'y');",
      [
        "if (false) refuse('x', 'y'); const v = m.get(k) ?? input.refuse('x', 'y');",
        "if (a) refuse('x', 'y'); const v = m.get(k) ?? (undefined as never);",
      ],
    ],
    [
      'each part of a report',
      "appraiser.report('id', a && !b, { expected, found });",
      [
        "appraiser.report('id', true && !b, { expected, found });",
        "appraiser.report('id', a && true, { expected, found });",
      ],
    ],
    [
      'an attempt',
      "await appraiser.attempt('id', 'x', async () => check());",
      ["await appraiser.attempt('id', 'x', async () => ({ passed: true, found: 'switched off' }));"],
    ],
    [
      'what an attempt finds',
      'const r = { passed: a && b, found };',
      ['const r = { passed: true && b, found };', 'const r = { passed: a && true, found };'],
    ],
    [
      'a condition for going on',
      "refuseUnless(a && b, 'ACTIVE');",
      ["refuseUnless(true && b, 'ACTIVE');", "refuseUnless(a && true, 'ACTIVE');"],
    ],
    [
      'a required property',
      'await requireOwner(x); const y = requireOwner(x); this.#requireFit(y);',
      [
        'void 0; const y = requireOwner(x); this.#requireFit(y);',
        'await requireOwner(x); const y = requireOwner(x); void 0;',
      ],
    ],
    [
      'declarations',
      "u32(0, 'v', { equals: 2 }); reserved(4, 8); reserved(12, 4, 'report'); bits({ reserved: 'refuse' }, {});",
      [
        "u32(0, 'v', { default: 2 }); reserved(4, 8); reserved(12, 4, 'report'); bits({ reserved: 'refuse' }, {});",
        "u32(0, 'v', { equals: 2 }); reserved(4, 8, 'report'); reserved(12, 4, 'report'); bits({ reserved: 'refuse' }, {});",
        "u32(0, 'v', { equals: 2 }); reserved(4, 8); reserved(12, 4, 'report'); bits({ reserved: 'report' }, {});",
      ],
    ],
    [
      'schemas',
      'z.strictObject({ a: z.string().regex(/^a$/) }); strictObject({ b });',
      [
        'z.object({ a: z.string().regex(/^a$/) }); strictObject({ b });',
        'z.strictObject({ a: z.string().regex(/(?:)/) }); strictObject({ b });',
        'z.strictObject({ a: z.string().regex(/^a$/) }); z.object({ b });',
      ],
    ],
  ])('%s', (_name, text, expected) => {
    expect(mutants(text)).toEqual(expected);
  });

  it('leaves alone what checks nothing', () => {
    expect(mutants('try { a(); } catch (error) { throw error; } if (x) return y; report(z);')).toEqual([]);
  });
});

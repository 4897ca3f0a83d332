import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { InvalidArgumentError } from '@vouchsafe/sev';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { type HandMadePolicy, handMadePolicy } from '../../testing/compiled-policies.js';
import { someQuestion } from '../../testing/questions.js';
import { policyProgram } from './policy-program.js';
import { type CompiledReleasePolicy, compiledReleasePolicy } from './release-policy.js';

vi.mock('node:child_process', { spy: true });

const limits = { deadline: 2000, loadDeadline: 60_000, memoryPages: 256 };

async function load(policy: HandMadePolicy, changes = {}): Promise<CompiledReleasePolicy> {
  const loaded = await compiledReleasePolicy(handMadePolicy(policy), { ...limits, ...changes });
  onTestFinished(() => loaded.close());
  return loaded;
}

const question = (text = '') => someQuestion({ tokenClaims: { text } });

afterEach(() => void vi.restoreAllMocks());

describe('a compiled policy', () => {
  it('decides by the token’s claims', async () => {
    const policy = await load({ answer: 'yes-to-exclamation-marks' });
    expect(policy).toMatchObject({ language: 'compiled-rego', entrypoint: 'policy/allow' });
    expect(policy.id).toMatch(/^[0-9a-f]{96}$/);
    expect(await policy.ask(question('let me in!'))).toEqual({
      allowed: true,
      rules: ['policy.allow'],
      denials: [],
    });
    expect(await policy.ask(question('let me in'))).toMatchObject({
      allowed: false,
      rules: [],
      denials: [{ rule: 'policy.allow', expected: 'true', found: 'false' }],
    });
  });

  it('answers questions that come at one time, each its own', async () => {
    const policy = await load({ answer: 'yes-to-exclamation-marks' });
    const texts = ['a!', 'b', 'c!', 'd', 'e', 'f!'];
    const answers = await Promise.all(texts.map((text) => policy.ask(question(text))));
    expect(answers.map(({ allowed }) => allowed)).toEqual(texts.map((text) => text.endsWith('!')));
  });

  it.each([
    ['undefined', 'undefined'],
    ['says-nonsense', '"yes"'],
  ] as const)('denies where the answer is not true: %s', async (answer, found) => {
    const policy = await load({ answer });
    expect(await policy.ask(question())).toMatchObject({
      allowed: false,
      denials: [{ rule: 'policy.allow', found }],
    });
  });

  it('may be asked as a whole package, whose allow counts', async () => {
    const policy = await load({ answer: 'yes', entrypoints: '{"policy":0}' });
    expect(policy.entrypoint).toBe('policy');
    // This one answers `true` and not `{"allow": true}`.
    expect(await policy.ask(question())).toMatchObject({ allowed: false, denials: [{ found: 'undefined' }] });
  });

  it('prints nothing into the broker’s log', async () => {
    const written: string[] = [];
    for (const stream of [process.stdout, process.stderr])
      vi.spyOn(stream, 'write').mockImplementation((chunk) => written.push(String(chunk)) > 0);
    const policy = await load({ answer: 'prints' });
    expect((await policy.ask(question('what the guest said'))).allowed).toBe(true);
    expect(written.join('')).not.toContain('what the guest said');
  });
});

describe('a hostile compiled policy', () => {
  it('that loops is denied at its deadline, and so is the next question, in a new process', async () => {
    const policy = await load({ answer: 'loops' }, { deadline: 200 });
    for (const _ of [1, 2]) {
      expect(await policy.ask(question())).toMatchObject({
        allowed: false,
        denials: [{ rule: 'compiled-policy.deadline', found: 'no answer within 200 ms' }],
      });
    }
  });

  it.each([
    ['traps', 'unreachable'],
    ['aborts', 'no luck today'],
  ] as const)('that %s is denied as a failure', async (answer, found) => {
    const policy = await load({ answer });
    expect(await policy.ask(question())).toMatchObject({
      allowed: false,
      denials: [{ rule: 'compiled-policy.failure', found }],
    });
    expect((await policy.ask(question())).allowed).toBe(false);
  });

  it('gets no more memory than the limit', async () => {
    expect((await (await load({ answer: 'grows' })).ask(question())).allowed).toBe(false);
    const roomy = await load({ answer: 'grows' }, { memoryPages: 300 });
    expect((await roomy.ask(question())).allowed).toBe(true);
  });

  it('that floods OPA’s own part ends its process, and not the broker', async () => {
    const policy = await load({ answer: 'floods' }, { deadline: 60_000 });
    expect(await policy.ask(question())).toMatchObject({
      allowed: false,
      denials: [{ rule: 'compiled-policy.memory', found: 'more memory than it may use' }],
    });
  });

  it('sees nothing of the broker’s environment', () => {
    expect(policyProgram).not.toContain('process.env');
    const begun = vi.mocked(spawn).mock.calls.map(([, , options]) => options.env);
    expect(begun.length).toBeGreaterThan(0);
    expect(new Set(begun.map((env) => JSON.stringify(env)))).toEqual(new Set(['{}']));
  });

  it('ends with its broker, even while it loops', async () => {
    const child = execFile(process.execPath, ['-e', orphanMaker]);
    const { stdout } = child;
    if (stdout === null) throw new Error('no output');
    const [line] = (await once(stdout, 'data')) as [string];
    const pid = Number(line);
    onTestFinished(() => void (isAlive(pid) && process.kill(pid, 'SIGKILL')));
    expect(isAlive(pid)).toBe(true);
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    await vi.waitFor(() => expect(isAlive(pid)).toBe(false), { timeout: 30_000, interval: 50 });
  });

  it('cannot tell one guest what another asked', async () => {
    const policy = await load({ answer: 'remembers' });
    for (const _ of [1, 2, 3]) expect((await policy.ask(question())).allowed).toBe(false);
  });

  it('holds up no more than 64 questions', async () => {
    const policy = await load({ answer: 'yes' });
    const answers = await Promise.all(Array.from({ length: 70 }, () => policy.ask(question())));
    expect(answers.filter(({ allowed }) => allowed)).toHaveLength(64);
    expect(answers.at(-1)?.denials[0]).toMatchObject({
      rule: 'compiled-policy.deadline',
      found: 'too many questions wait for an answer',
    });
  });

  it('that was closed starts again with the next question', async () => {
    const policy = await load({ answer: 'yes' });
    await policy.close();
    expect((await policy.ask(question())).allowed).toBe(true);
  });

  const good = handMadePolicy({ answer: 'yes' });
  it.each<[string, Uint8Array, RegExp]>([
    [
      'source',
      new TextEncoder().encode('package policy\ndefault allow = true'),
      /bytes that are no WebAssembly/,
    ],
    ['nothing', new Uint8Array(), /bytes that are no WebAssembly/],
    ['a module cut short', good.subarray(0, good.length - 5), /ends too early/],
    ['a header alone', good.subarray(0, 8), /imports no memory/],
    ['another version', Uint8Array.from(good, (byte, i) => (i === 4 ? 2 : byte)), /another version/],
    ['bytes after its end', Uint8Array.from([...good, 1]), /ends too early/],
    ['a memory of its own', handMadePolicy({ answer: 'yes', ownMemory: true }), /a memory of its own/],
    ['no memory', handMadePolicy({ answer: 'yes', withoutMemory: true }), /imports no memory/],
    ['too large a memory', handMadePolicy({ answer: 'yes', pages: 257 }), /wants 257 pages of memory/],
    ['too many bytes', Uint8Array.from({ length: 4_194_305 }, (_, i) => good[i] ?? 0), /4194305 bytes/],
    ['code that is damaged', damaged(good), /does not load/],
    [
      'a loop at load',
      handMadePolicy({ answer: 'yes', loopsAtLoad: true }),
      /does not load: no answer within 3000 ms/,
    ],
    [
      'another entry point',
      handMadePolicy({ answer: 'yes', entrypoints: '{"a/b":0}' }),
      /has the entry points a\/b/,
    ],
    ['no entry point', handMadePolicy({ answer: 'yes', entrypoints: '{}' }), /has the entry points none/],
  ])('is refused when it is set: %s', async (_, module, message) => {
    const refused = compiledReleasePolicy(module, { ...limits, loadDeadline: 3000 });
    await expect(refused).rejects.toThrow(InvalidArgumentError);
    await expect(refused).rejects.toThrow(message);
  });
});

/** Another opcode in the last function. */
function damaged(module: Uint8Array): Uint8Array {
  const bytes = Uint8Array.from(module);
  const section = bytes.lastIndexOf(0x0a);
  bytes[section + 8] = 0xff;
  return bytes;
}

/** A process that has ended and that nobody has asked about yet is a zombie: its state is Z. */
function isAlive(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** Begins the policy's program, has it run a policy that loops, and says its process id. */
const orphanMaker = `
  const { spawn } = require('node:child_process');
  const looping = 'process.once("message", () => { for (;;); });';
  const child = spawn(process.execPath, ['-e', ${JSON.stringify(policyProgram)} + looping], {
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    serialization: 'advanced',
  });
  child.once('message', () => process.stdout.write(String(child.pid)));
  child.send({ opa: 'node:path', policy: new Uint8Array(), memory: {} });
  setInterval(() => undefined, 1000);
`;

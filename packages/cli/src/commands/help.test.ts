import { describe, expect, it } from 'vitest';
import { allCommands } from '../frame/table.js';
import { run } from '../testing/run.js';
import { commandTable } from './table.js';

const commands = allCommands(commandTable).map(({ path, leaf }) => ({ name: path.join(' '), path, leaf }));

describe.each(commands)('vouchsafe $name', ({ path, leaf }) => {
  it('shows help, with an example that begins with its own name', async () => {
    const { exit, stdout, stderr } = await run([...path, '--help']);
    expect([exit, stderr]).toEqual([0, '']);
    const declaration = await leaf.load();
    expect(stdout.replaceAll(/\s+/g, ' ')).toContain(declaration.description.replaceAll(/\s+/g, ' '));
    expect(stdout).toContain(`$ vouchsafe ${path.join(' ')}`);
    expect(stdout).toContain('--json');
  });

  it('has a summary of one line and options with help', async () => {
    const declaration = await leaf.load();
    expect(leaf.summary).toMatch(/^[^A-Z.].{4,60}[^.]$/);
    for (const [name, option] of Object.entries(declaration.options)) {
      expect(option.help, name).not.toBe('');
      expect(option.flags, name).toMatch(/^(?:-[a-zA-Z], )?--[a-z0-9.-]+(?: <[a-z0-9.:-]+>)?$/);
    }
    for (const { line } of declaration.examples) expect(line.startsWith(path.join(' '))).toBe(true);
  });

  it('says in JSON what is wrong with its arguments', async () => {
    const { exit, stdout, stderr } = await run([...path, '--no-such-option', '--json']);
    expect([exit, stderr]).toEqual([2, '']);
    expect(JSON.parse(stdout).error).toMatchObject({
      code: 'invalid-argument',
      message: expect.stringContaining('--no-such-option'),
    });
  });
});

it('lists every group with its summary', async () => {
  const { stdout } = await run(['--help']);
  for (const [word, { summary }] of Object.entries(commandTable)) {
    expect(stdout).toMatch(new RegExp(`^ {2}${word} +${summary}$`, 'm'));
  }
});

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConsoleShell, outputPattern, readConsolePage } from './testing/console-page.js';
import { build, freePort, repository } from './testing/process.js';

/** The page names a port; here it is one that is free. */
const page = readFileSync(join(repository, 'docs/coming-from.md'), 'utf8').replaceAll(
  '18765',
  String(await freePort()),
);
const steps = readConsolePage(page);
const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-coming-from-'));
const shell = new ConsoleShell(folder);

beforeAll(build);
afterAll(async () => {
  await shell.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('docs/coming-from.md', () => {
  it.each(steps)('line $line: $command', async ({ command, output, exit }) => {
    const outcome = await shell.run(command);
    expect(outcome.output).toMatch(outputPattern(output));
    expect(outcome.exit).toBe(exit);
  });

  it('names every command of the three tools', () => {
    const commands = [
      ...[
        'export',
        'generate',
        'ok',
        'provision',
        'reset',
        'rotate',
        'session',
        'show',
        'verify',
        'validate',
      ],
      ...['vmsa build', 'vmsa show', 'vmsa update', 'measurement build', 'secret build'],
      ...[
        'factory_reset',
        'platform_status',
        'pek_gen',
        'pek_csr',
        'pdh_gen',
        'pdh_cert_export',
        'pek_cert_import',
        'get_id',
      ],
      ...[
        'sign_pek_csr',
        'set_self_owned',
        'set_externally_owned',
        'generate_cek_ask',
        'get_ask_ark',
        'export_cert_chain',
      ],
      ...[
        'validate_cert_chain',
        'generate_launch_blob',
        'calc_measurement',
        'package_secret',
        'validate_attestation',
      ],
      ...[
        'validate_guest_report',
        'validate_cert_chain_vcek',
        'export_cert_chain_vcek',
        'sys_info',
        'verbose',
        'brief',
        'ofolder',
        'test_all',
      ],
    ];
    for (const command of commands) expect(page).toMatch(new RegExp(`^\\| .*\`(?:--)?${command}\\b`, 'm'));
  });
});

describe('the patterns of a page', () => {
  it('take … for what differs, and nothing else', () => {
    const pattern = outputPattern('a … c\n…\nend');
    for (const output of ['a b c\nend\n', 'a b c\nx\ny\nend\n']) expect(output).toMatch(pattern);
    for (const output of ['a b d\nend\n', 'a b c\nx\nending\n', 'x a b c\nend\n', 'a b c\nend'])
      expect(output).not.toMatch(pattern);
    expect('').toMatch(outputPattern(''));
    expect('x\n').not.toMatch(outputPattern(''));
  });
});

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { describeConsolePage, outputPattern } from './testing/console-page.js';
import { freePort, repository } from './testing/process.js';

/** The page names a port; here it is one that is free. */
const page = readFileSync(join(repository, 'docs/coming-from.md'), 'utf8').replaceAll(
  '18765',
  String(await freePort()),
);

describeConsolePage('docs/coming-from.md, run', {
  text: page,
  vectors: {
    'report.bin': 'snp/reports/turin-v5-azure.bin',
    'vcek.pem': 'snp/reports/turin-v5-azure.vcek.pem',
    'cert_chain.pem': 'snp/certs/cert_chain_turin.pem',
  },
});

describe('docs/coming-from.md', () => {
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

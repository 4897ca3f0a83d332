import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDevelopmentAuthority } from '@vouchsafe/kds';
import { describe, expect, it } from 'vitest';
import { testAuthorityKeys } from '../../kds/src/testing/authority-keys.js';
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
    'snp-report.bin': 'snp/reports/turin-v5-azure.bin',
    'vcek.pem': 'snp/reports/turin-v5-azure.vcek.pem',
    'cert_chain.pem': 'snp/certs/cert_chain_turin.pem',
    'AmdSev.fd': 'snp/measure/ovmf_AmdSev_suffix.bin',
  },
  prepare: (folder) => {
    mkdirSync(join(folder, 'host'), { mode: 0o700 });
    return openDevelopmentAuthority({
      folder: join(folder, 'host', 'authority'),
      generation: 'milan',
      generateKeys: testAuthorityKeys,
    });
  },
});

describe('docs/coming-from.md', () => {
  it('names every command of the tools for SEV and SEV-ES', () => {
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

  it('names every option and command of the tools for SEV-SNP', () => {
    const names = [
      ...['--mode', '--vcpus', '--vcpu-sig', '--vmm-type', '--ovmf', '--guest-features', '--output-format'],
      ...['--snp-ovmf-hash', '--dump-vmsa', '--svsm', '--vars-size', '--vars-file', 'snp-create-id-block'],
      ...['in', 'inform', 'config', 'quiet', 'guest_policy', 'report_data', 'host_data', 'family_id'],
      ...['image_id', 'report_id', 'report_id_ma', 'measurement', 'chip_id', 'vmpl', 'minimum_tcb'],
      ...['minimum_launch_tcb', 'provisional', 'platform_info', 'require_author_key', 'require_idblock'],
      ...['min_build', 'min_version', 'trusted_author_keys', 'trusted_author_key_hashes', 'trusted_id_keys'],
      ...['trusted_id_key_hashes', 'product', 'product_key_path', 'check_crl', 'network', 'timeout'],
      ...['out', 'outform', 'verify certs', 'verify attestation', 'fetch ca', 'fetch vcek', 'fetch crl'],
      ...['display report', 'display key', 'generate measurement', 'generate ovmf-hash', 'generate id-block'],
      ...['generate key-digest', 'report', 'certificates', 'key', 'ok'],
    ];
    for (const name of names) expect(page).toMatch(new RegExp(`\`-?${name}\\b`, 'm'));
  });

  it('names every command of the tools for SEV-SNP hosts and guests', () => {
    const section = (title: string) =>
      page.split(/^## /m).find((part) => part.startsWith(`${title}\n`)) ?? '';
    const snphost = [
      ...[
        'ok',
        'show guests',
        'show identifier',
        'show tcb',
        'show version',
        'show vcek-url',
        'show vlek-url',
      ],
      ...[
        'show hashsticks-url',
        'fetch ca',
        'fetch vek',
        'fetch crl',
        'fetch hashsticks',
        'import',
        'export',
      ],
      ...['config set', 'config reset', 'commit', 'vlek-load', 'verify certs', 'verify vlek-hashstick'],
    ];
    const snpguest = [
      'report',
      'report -r',
      'report -v',
      'report -p',
      'certificates',
      'key',
      'key -v',
      'key -g',
      'ok',
    ];
    for (const [tool, commands] of Object.entries({ snphost, snpguest })) {
      for (const command of commands)
        expect(section(tool), tool).toMatch(new RegExp(`^\\| .*\`${command}\\b`, 'm'));
    }
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

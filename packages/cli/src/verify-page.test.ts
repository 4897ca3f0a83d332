import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeConsolePage } from './testing/console-page.js';
import { repository } from './testing/process.js';

describeConsolePage('docs/verify.md, run', {
  text: readFileSync(join(repository, 'docs/verify.md'), 'utf8'),
  vectors: {
    'report.bin': 'snp/reports/turin-v5-azure.bin',
    'vcek.pem': 'snp/reports/turin-v5-azure.vcek.pem',
    'cert_chain.pem': 'snp/certs/cert_chain_turin.pem',
    'aws-report.bin': 'snp/reports/milan-v3-vlek-aws.bin',
    'aws-vlek.der': 'snp/reports/milan-v3-vlek-aws.vlek.der',
    'aws-cert_chain.pem': 'snp/certs/cert_chain_milan-vlek.pem',
  },
});

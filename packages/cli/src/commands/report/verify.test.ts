import { readFileSync } from 'node:fs';
import { buildCertificateTable, certificateTableGuids, toBase64, toHex } from '@vouchsafe/sev';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { describeWithVectors, jsonVector, vectorPath } from '../../../../sev/src/testing/vectors.js';
import { run, runJson } from '../../testing/run.js';
import { SoftwareEvidence, validAt } from '../../testing/software-evidence.js';

interface Document {
  readonly accepted: boolean;
  readonly root: { readonly name: string; readonly kind: string } | null;
  readonly checks: readonly Readonly<Record<string, string>>[];
  readonly form: string;
  readonly notes: readonly string[];
}
interface ErrorDocument {
  readonly error: { readonly code: string; readonly message: string };
}

const failed = ({ checks }: Document) => checks.filter(({ status }) => status === 'fail').map(({ id }) => id);

afterEach(() => {
  vi.unstubAllGlobals();
});

interface VerdictCase {
  readonly report: string;
  readonly vek: string;
  readonly chain: string;
  readonly at: string;
  readonly flags: readonly string[];
  readonly with_flags: string;
  readonly without_flags: string;
  readonly after_expiry: { readonly at: string; readonly verdict: string };
}

describeWithVectors('report verify, on genuine reports', () => {
  const { cases } = jsonVector<{ cases: VerdictCase[] }>('snp/verdicts.json');
  const words = ({ report, vek, chain }: VerdictCase, at: string) => [
    ...['report', 'verify', vectorPath(`snp/reports/${report}`), '--offline', '--revocation', 'skip'],
    ...['--vek', vectorPath(`snp/reports/${vek}`), '--chain', vectorPath(`snp/certs/${chain}`), '--at', at],
  ];
  const of = (report: string) => cases.find((each) => each.report === report)!;
  const named = {
    genoa: of('genoa-v3-tsm.bin'),
    siena: of('genoa-v5-siena.bin'),
    oak: of('milan-v3-oak.bin'),
  };
  const word = (accepted: boolean) => (accepted ? 'accepted' : 'refused');

  it.each(cases.map((each) => [each.report, each] as const))('%s', async (_, each) => {
    for (const [at, flags, verdict] of [
      [each.at, each.flags, each.with_flags],
      [each.at, [], each.without_flags],
      [each.after_expiry.at, each.flags, each.after_expiry.verdict],
    ] as const) {
      const { exit, stderr, document } = await runJson<Document>([...words(each, at), ...flags]);
      expect([exit, stderr]).toEqual([verdict === 'accepted' ? 0 : 1, '']);
      expect(word(document.accepted)).toBe(verdict);
      for (const check of document.checks) {
        expect(Object.keys(check).sort().join()).toMatch(/^(?:expected,found,(?:hint,)?|hint,)id,status$/);
        expect(['pass', 'fail', 'not-asked']).toContain(check['status']);
      }
      const text = await run([...words(each, at), ...flags]);
      expect(text.exit).toBe(exit);
      expect(text.stdout).toMatch(
        verdict === 'accepted' ? /^authentic: .*\n {2}root: AMD, (?:Milan|Genoa|Turin)\n/ : /^refused: /,
      );
    }
  });

  it('reads reports as tools write them, and the certificates that they carry', async () => {
    const evidence = (name: string) => vectorPath(`snp/evidence/${name}`);
    const skip = ['--revocation', 'skip', '--at'];
    const tsm = await runJson<Document>([
      'report',
      'verify',
      evidence('genoa-v3-tsm.json'),
      ...skip,
      '2025-06-01',
    ]);
    expect([tsm.exit, tsm.document.root?.name, tsm.document.form]).toEqual([
      0,
      'AMD, Genoa',
      'report, TSM evidence',
    ]);
    const table = await runJson<Document>([
      ...['report', 'verify', vectorPath('snp/reports/genoa-v3-tsm.bin')],
      ...['--certs', evidence('genoa-v3-tsm.auxblob.bin'), ...skip, '2025-06-01'],
    ]);
    expect([table.exit, table.document.root?.name]).toEqual([0, 'AMD, Genoa']);
    const azure = await runJson<Document>([
      ...[
        'report',
        'verify',
        evidence('azure-milan-v1.json'),
        '--chain',
        vectorPath('snp/certs/cert_chain_milan.pem'),
      ],
      ...[...skip, '2025-03-01', '--allow-provisional'],
    ]);
    expect(azure.document.form).toBe('HCL container, Azure evidence');
    expect([azure.exit, azure.document.root?.name]).toEqual([0, 'AMD, Milan']);
    const bare = await runJson<Document>([
      'report',
      'verify',
      evidence('azure-hcl-report.bin'),
      ...skip,
      '2025-03-01',
    ]);
    expect([bare.exit, bare.document.form]).toEqual([1, 'HCL container, raw']);
  });

  it('refuses certificates of other chips and product lines, and broken ones', async () => {
    const { genoa, siena, oak } = named;
    const other = async (each: VerdictCase, change: Partial<VerdictCase>) =>
      failed((await runJson<Document>(words({ ...each, ...change }, '2026-03-19'))).document);
    expect(await other(genoa, { vek: siena.vek })).toEqual(
      expect.arrayContaining(['vek.hardware-id', 'report.signature']),
    );
    expect(await other(oak, { vek: siena.vek, chain: siena.chain })).toContain('vek.product-line');
    expect(await other(oak, { chain: siena.chain })).toContain('endorsement.vek.ask-signature');
    const invalid = await runJson<Document>([
      ...[
        'report',
        'verify',
        vectorPath(`snp/reports/${oak.report}`),
        '--at',
        oak.at,
        '--revocation',
        'skip',
      ],
      ...['--vek', vectorPath('snp/certs/vcek-hwid-raw.invalid.der')],
      ...['--chain', vectorPath('snp/certs/cert_chain_milan.pem')],
    ]);
    expect([invalid.exit, failed(invalid.document)]).toEqual([
      1,
      expect.arrayContaining(['endorsement.vek.ask-signature']),
    ]);
  });

  it('does not take AMD’s root for a development root', async () => {
    const { genoa } = named;
    const { exit, document } = await runJson<ErrorDocument>([
      ...words(genoa, genoa.at),
      ...['--root', vectorPath('snp/certs/cert_chain_genoa.pem')],
    ]);
    expect([exit, document.error.code]).toEqual([2, 'invalid-argument']);
  });
});

describe('report verify', () => {
  let evidence: SoftwareEvidence;
  let report: string;
  let options: string[];

  beforeAll(async () => {
    evidence = await SoftwareEvidence.make();
    report = await evidence.report('report.bin');
    options = await evidence.options();
  });
  afterAll(() => evidence.remove());

  const verify = (words: readonly string[], file = report) =>
    runJson<Document>(['report', 'verify', file, ...options, ...words]);

  it('calls a report authentic, and accepted only where it was compared', async () => {
    const authentic = await run(['report', 'verify', report, ...options]);
    expect(authentic.exit).toBe(0);
    expect(authentic.stdout).toMatch(
      /^authentic: SEV-SNP attestation report\n {2}root: Vouchsafe Development, Milan \(a development root: no hardware stands behind it\)\n {2}The evidence is genuine. It was compared with no expectation; what was not asked stands below.\n/,
    );
    expect(authentic.stdout).toMatch(/^report\.measurement +launch measurement +ask with --measurement$/m);
    expect(authentic.stdout).toMatch(/^endorsement\.revocation-list +.* no current list/m);
    const accepted = await run(['report', 'verify', report, ...options, '--vmpl', '1']);
    expect(accepted.stdout).toMatch(/^accepted: /);
    expect(accepted.stdout).toMatch(/^pass +report\.vmpl +privilege level +VMPL 1$/m);
  });

  it('says of a refusal what failed, what was expected and found, and what to do', async () => {
    const { exit, stdout } = await run(['report', 'verify', report, ...options, '--vmpl', '0']);
    expect(exit).toBe(1);
    expect(stdout).toMatch(
      /^ {2}failed: privilege level \(report\.vmpl\)\n +expected +VMPL 0\n +found +VMPL 1\n +what to do +ask for the report/m,
    );
  });

  it('refuses it under AMD’s roots', async () => {
    const withoutRoot = options.filter((_, i) => options[i] !== '--root' && options[i - 1] !== '--root');
    const { exit, document } = await runJson<Document>(['report', 'verify', report, ...withoutRoot]);
    expect([exit, document.root, failed(document)]).toEqual([1, null, ['endorsement.ark.root']]);
  });

  it('says which certificate is missing', async () => {
    const { exit, document } = await runJson<Document>(['report', 'verify', report]);
    expect([exit, document.accepted]).toEqual([1, false]);
    const files = document.checks.find(({ id }) => id === 'endorsement.files');
    expect(files).toMatchObject({ status: 'fail', hint: expect.stringContaining('--vek') });
  });

  it.each([
    ['guest.debug', '--allow-debug', { policy: { debug: true } }],
    [
      'guest.migration-agent',
      '--allow-migration-agent',
      { fields: { reportIdMa: new Uint8Array(32).fill(7) }, policy: { migrationAgent: true } },
    ],
    ['firmware.committed', '--allow-provisional', { tcbs: { currentTcb: { microcode: 218 } } }],
  ] as const)('refuses %s unless allowed by name', async (id, option, change) => {
    const file = await evidence.report(`${id}.bin`, change);
    const refused = await verify([], file);
    expect([refused.exit, failed(refused.document)]).toEqual([1, [id]]);
    expect((await verify([option], file)).exit).toBe(0);
    const policy = { [option.slice(2).replaceAll(/-(.)/g, (_, letter) => letter.toUpperCase())]: true };
    expect((await verify(['--policy', evidence.file('allow.json', JSON.stringify(policy))], file)).exit).toBe(
      0,
    );
  });

  it('always refuses a report that the host asked for', async () => {
    const file = await evidence.report('host.bin', { fields: { vmpl: 0xffff_ffff } });
    const { exit, document } = await verify(
      ['--allow-debug', '--allow-migration-agent', '--allow-provisional'],
      file,
    );
    expect([exit, failed(document)]).toEqual([1, ['guest.requester']]);
  });

  it('reads newer versions when it is told to', async () => {
    const file = await evidence.report('newer.bin', {
      edit: (bytes) => {
        bytes[0] = 6;
      },
    });
    expect(failed((await verify([], file)).document)).toContain('report.format');
    expect((await verify(['--accept-newer-versions'], file)).exit).toBe(0);
  });

  it('takes the same report in every packaging', async () => {
    const bytes = readFileSync(report);
    const table = await evidence.certificateTable();
    const response = Buffer.concat([Buffer.alloc(0x20), bytes, Buffer.alloc(4000 - 0x20 - bytes.length)]);
    response.writeUInt32LE(bytes.length, 4);
    const url = (content: Uint8Array) => Buffer.from(content).toString('base64url');
    const whole = Buffer.concat([bytes, table]);
    const tsm = { provider: 'sev_guest\n', outblob: url(bytes), auxblob: toBase64(table), generation: 3 };
    for (const [content, form] of [
      [bytes, 'report, raw'],
      [toHex(bytes), 'report, hexadecimal'],
      [
        `0x${toHex(bytes)
          .toUpperCase()
          .replaceAll(/(.{64})/g, '$1\n')}`,
        'report, hexadecimal',
      ],
      [`${toBase64(bytes).replaceAll(/(.{76})/g, '$1\n')}\n`, 'report, base64'],
      [url(bytes), 'report, base64'],
      [response, 'REPORT_RSP, raw'],
      [toBase64(response), 'REPORT_RSP, base64'],
      [whole, 'report and certificate table, raw'],
      [JSON.stringify(tsm), 'report, TSM evidence'],
      [JSON.stringify({ ...tsm, auxblob: '' }), 'report, TSM evidence'],
    ] as const) {
      const { exit, document } = await verify([], evidence.file('packed', content));
      expect([exit, document.form]).toEqual([0, form]);
    }
    const stdin = await run(['report', 'verify', '-', ...options], { stdin: new Uint8Array(bytes) });
    expect(stdin.exit).toBe(0);
    const root = ['--root', evidence.file('ark.der', evidence.endorser.ark.raw), '--at', validAt];
    for (const content of [whole, JSON.stringify(tsm)]) {
      const carried = await runJson<Document>([
        'report',
        'verify',
        evidence.file('carried', content),
        ...root,
      ]);
      expect([carried.exit, carried.document.root?.kind]).toEqual([0, 'development']);
    }
  });

  it('tells malformed input from a refusal', async () => {
    const bytes = readFileSync(report);
    for (const content of [
      '',
      'neither a report nor base64!',
      'deadbeef',
      toHex(bytes).slice(0, -2),
      bytes.subarray(0, 1183),
      Buffer.concat([bytes, Buffer.alloc(7, 1)]),
      '{',
      '{}',
      '{"outblob": 7}',
      '{"outblob": "%%%"}',
      '{"outblob": ""}',
      JSON.stringify({ provider: 'tdx_guest', outblob: toBase64(bytes) }),
      Buffer.from('HCLA then something else entirely, and more of it than a header has'),
    ]) {
      const text = await run(['report', 'verify', evidence.file('bad', content), ...options]);
      expect([text.exit, text.stdout], String(content).slice(0, 40)).toEqual([2, '']);
      expect(text.stderr).toMatch(/^vouchsafe: /);
      expect(text.stderr).not.toMatch(/^\s+at /m);
      const { exit, document, stderr } = await verify([], evidence.file('bad', content));
      const { error } = document as unknown as ErrorDocument;
      expect([exit, stderr]).toEqual([2, '']);
      expect(['malformed', 'invalid-argument']).toContain(error.code);
    }
    for (const option of ['--vek', '--chain', '--root', '--crl']) {
      for (const content of ['', 'no certificate']) {
        const { exit, stdout } = await run([
          ...['report', 'verify', report, ...options, option, evidence.file('bad.pem', content)],
        ]);
        expect([exit, stdout], option).toEqual([2, '']);
      }
      const missing = await run(['report', 'verify', report, ...options, option, `${evidence.folder}/none`]);
      expect([missing.exit, missing.stdout]).toEqual([3, '']);
    }
    for (const policy of ['', '[]', '{"vmpl": "0"}', '{"vmpll": 0}', '{"vmpl": 0, "vmpl": 1}']) {
      expect((await verify(['--policy', evidence.file('policy.json', policy)])).exit, policy).toBe(2);
    }
  });

  it('refuses certificates that are cut or damaged, at a check', async () => {
    const vek = readFileSync(await evidence.vek());
    for (const content of [vek.subarray(0, 100), Buffer.concat([vek, Buffer.alloc(1)])]) {
      const { exit, document } = await verify(['--vek', evidence.file('cut.der', content)]);
      expect([exit, failed(document)]).toEqual([1, expect.arrayContaining(['endorsement.files'])]);
    }
    const table = buildCertificateTable([{ guid: certificateTableGuids.ARK, bytes: Uint8Array.of(0x30, 0) }]);
    const bad = await verify(['--certs', evidence.file('table', table)]);
    expect([bad.exit, failed(bad.document)]).toEqual([1, expect.arrayContaining(['endorsement.files'])]);
  });

  describe('revocation', () => {
    it('asks the list that is given', async () => {
      const list = evidence.file('list.crl', (await evidence.endorser.crl()).raw);
      const { exit, document } = await verify(['--crl', list, '--revocation', 'require']);
      expect(exit).toBe(0);
      expect(document.checks.find(({ id }) => id === 'endorsement.revocation')?.['status']).toBe('pass');
      const stale = await verify(['--crl', list, '--revocation', 'require', '--at', '2026-04-01']);
      expect([stale.exit, failed(stale.document)]).toEqual([1, ['endorsement.revocation-list']]);
      const revoking = await evidence.endorser.crl((fields) => ({
        ...fields,
        revoked: [{ serial: evidence.endorser.ask.serial, revokedAt: fields.thisUpdate }],
      }));
      const revoked = await verify(['--crl', evidence.file('revoking.crl', revoking.raw)]);
      expect([revoked.exit, failed(revoked.document)]).toEqual([1, ['endorsement.revocation']]);
    });

    it('is not done, refused or skipped without one', async () => {
      const status = ({ document }: { document: Document }) =>
        document.checks
          .filter(({ id }) => id?.startsWith('endorsement.revocation'))
          .map((each) => each['status']);
      const usual = await verify([]);
      expect([usual.exit, status(usual)]).toEqual([0, ['not-asked', 'not-asked']]);
      const required = await verify(['--revocation', 'require']);
      expect([required.exit, status(required)[0]]).toEqual([1, 'fail']);
      const skipped = await verify(['--revocation', 'skip']);
      expect([skipped.exit, status(skipped)]).toEqual([0, ['not-asked', 'not-asked']]);
      expect(JSON.stringify(skipped.document)).toContain('skipped, as asked');
    });
  });

  describe('the network', () => {
    const pem = (der: Uint8Array) =>
      `-----BEGIN CERTIFICATE-----\n${toBase64(der).replaceAll(/(.{64})/g, '$1\n')}\n-----END CERTIFICATE-----\n`;

    /** A key service that knows the evidence's chip; `list` undefined: it has no revocation list. */
    async function serve(list?: Uint8Array) {
      const { ark, ask } = evidence.endorser;
      const vek = (await evidence.endorser.vek('VCEK')).raw;
      const asked: string[] = [];
      vi.stubGlobal('fetch', async (address: string | URL) => {
        const { pathname } = new URL(address);
        asked.push(pathname);
        const answer = pathname.endsWith('/crl')
          ? list
          : pathname.endsWith('/cert_chain')
            ? new TextEncoder().encode(pem(ask.raw) + pem(ark.raw))
            : vek;
        return answer === undefined
          ? new Response('no', { status: 404 })
          : new Response(new Uint8Array(answer), { status: 200 });
      });
      return asked;
    }
    const root = () => ['--root', evidence.file('ark.der', evidence.endorser.ark.raw), '--at', validAt];
    const kds = (folder: string) => [
      '--kds',
      'http://kds.invalid',
      '--cache',
      `${evidence.folder}/${folder}`,
    ];

    it('is left alone unless a key service is named', async () => {
      const asked = await serve();
      await verify([]);
      await runJson(['report', 'verify', report, ...root()]);
      await runJson(['report', 'verify', report, ...root(), '--revocation', 'require']);
      expect(asked).toEqual([]);
    });

    it('gives what is missing, once, and afterwards nothing is asked', async () => {
      const asked = await serve();
      const words = ['report', 'verify', report, ...root(), ...kds('first')];
      const fetched = await runJson<Document>(words);
      expect([fetched.exit, fetched.document.root?.name]).toEqual([0, 'Vouchsafe Development, Milan']);
      expect(fetched.document.notes).toEqual([expect.stringContaining('no revocation list')]);
      const chip = toHex(Uint8Array.from({ length: 64 }, (_, i) => i + 1));
      expect(asked).toEqual([`/vcek/v1/Milan/${chip}`, '/vcek/v1/Milan/cert_chain', '/vcek/v1/Milan/crl']);
      asked.length = 0;
      const offline = await runJson<Document>([...words, '--offline']);
      expect([offline.exit, offline.document.root?.name, asked]).toEqual([
        0,
        'Vouchsafe Development, Milan',
        [],
      ]);
      const nothing = await runJson<ErrorDocument>([
        ...['report', 'verify', report, ...root(), ...kds('empty'), '--offline'],
      ]);
      expect([nothing.exit, nothing.document.error.code, asked]).toEqual([3, 'unavailable', []]);
    });

    it('is not asked for what is given', async () => {
      const asked = await serve();
      expect((await verify([...kds('second'), '--revocation', 'skip'])).exit).toBe(0);
      expect(asked).toEqual([]);
    });

    it('gives chain and list of a report whose chip id is masked', async () => {
      const asked = await serve((await evidence.endorser.crl()).raw);
      const masked = await evidence.report('masked.bin', { fields: { chipId: new Uint8Array(64) } });
      const words = ['report', 'verify', masked, ...root(), ...kds('masked')];
      const named = await runJson<Document>([...words, '--vek', await evidence.vek()]);
      // The client asks what is current now, which the list of March 2026 is not.
      expect(named.exit).toBe(0);
      expect(asked).toEqual(['/vcek/v1/Milan/cert_chain', '/vcek/v1/Milan/crl']);
      const bare = await runJson<Document>(words);
      expect([bare.exit, bare.document.notes]).toEqual([
        1,
        expect.arrayContaining([expect.stringContaining('masks the chip id')]),
      ]);
    });

    it('is not asked about a report that does not say its product line, unless that is named', async () => {
      const asked = await serve();
      const old = await evidence.report('old.bin', { version2: true });
      const words = ['report', 'verify', old, ...root(), ...kds('old')];
      const { exit, document } = await runJson<Document>(words);
      expect([exit, asked, document.notes]).toEqual([1, [], [expect.stringContaining('--product')]]);
      const named = await runJson<Document>([...words, '--product', 'Milan']);
      expect([named.exit, failed(named.document)]).toEqual([0, []]);
    });

    it('must give a list that is required', async () => {
      await serve();
      const { exit, document } = await runJson<ErrorDocument>([
        ...['report', 'verify', report, ...root(), ...kds('third'), '--revocation', 'require'],
      ]);
      expect([exit, document.error.code]).toEqual([3, 'unavailable']);
    });

    it('leaves unreadable evidence to the checks', async () => {
      const asked = await serve();
      const bytes = readFileSync(report);
      bytes[0x4c] = 1;
      const { exit, document } = await runJson<Document>([
        ...['report', 'verify', evidence.file('odd.bin', bytes), ...root(), ...kds('fourth')],
      ]);
      expect([exit, failed(document), asked]).toEqual([1, expect.arrayContaining(['report.format']), []]);
    });
  });
});

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildCertificateTable, certificateTableGuids, type VekKind } from '@vouchsafe/sev';
import { makeEndorser, type TestEndorser, testEndorserKeys } from '../../../sev/src/testing/endorsements.js';
import { makeReport, type TestReport } from '../../../sev/src/testing/reports.js';

/** A date at which everything that the test endorser makes is valid. */
export const validAt = '2026-03-15';

/** Reports, certificates and lists of an endorsement service in a test's hands, as files. */
export class SoftwareEvidence {
  readonly folder = mkdtempSync(join(tmpdir(), 'vouchsafe-report-'));
  readonly #endorser: TestEndorser;

  private constructor(endorser: TestEndorser) {
    this.#endorser = endorser;
  }

  static async make(): Promise<SoftwareEvidence> {
    return new SoftwareEvidence(await makeEndorser('Milan', testEndorserKeys(4096)));
  }

  get endorser(): TestEndorser {
    return this.#endorser;
  }

  file(name: string, content: Uint8Array | string): string {
    const path = join(this.folder, name);
    writeFileSync(path, content);
    return path;
  }

  async report(name: string, report: TestReport = {}): Promise<string> {
    return this.file(name, await makeReport(this.#endorser.vekKey, report));
  }

  async vek(kind: VekKind = 'VCEK'): Promise<string> {
    return this.file(`${kind}.der`, (await this.#endorser.vek(kind)).raw);
  }

  async certificateTable(kind: VekKind = 'VCEK'): Promise<Uint8Array> {
    const { ark, ask, asvk } = this.#endorser;
    return buildCertificateTable([
      { guid: certificateTableGuids.ARK, bytes: ark.raw },
      { guid: certificateTableGuids.ASK, bytes: (kind === 'VCEK' ? ask : asvk).raw },
      { guid: certificateTableGuids[kind], bytes: (await this.#endorser.vek(kind)).raw },
    ]);
  }

  /** Options that give the whole endorsement, trusted and at a date at which it is valid. */
  async options(kind: VekKind = 'VCEK'): Promise<string[]> {
    const { ark, ask, asvk } = this.#endorser;
    const root = this.file('ark.der', ark.raw);
    const chain = this.file(`${kind}-signer.der`, (kind === 'VCEK' ? ask : asvk).raw);
    const files = ['--vek', await this.vek(kind), '--chain', chain, '--chain', root];
    return [...files, '--root', root, '--at', validAt];
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

import { describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../errors.js';
import { parseReportPolicy } from './expectations-file.js';

const hex = (length: number, digits: string) => digits.repeat(length);

describe('a policy file', () => {
  test('that is not JSON is refused as that', () => {
    expect(() => parseReportPolicy('{ "vmpl": 1, ')).toThrow('is not JSON');
  });

  test('with every member', () => {
    const file = {
      reportData: hex(64, 'da'),
      measurements: [hex(48, '3e'), hex(48, '3F')],
      hostData: hex(32, '05'),
      requireIdBlock: true,
      requireAuthorKey: false,
      idKeyDigests: [hex(48, '1d')],
      authorKeyDigests: [hex(48, 'a0')],
      familyId: hex(16, 'fa'),
      imageId: hex(16, '1a'),
      minimumGuestSvn: 5,
      vmpl: 1,
      signingKey: 'VLEK',
      minimumReportVersion: 3,
      reportId: hex(32, '21'),
      reportIdMa: hex(32, 'ff'),
      requireChipId: true,
      chipIds: [hex(64, '01'), hex(8, '02')],
      deniedChipIds: [],
      productLines: ['Genoa', 'Turin'],
      cspIds: ['CN=cc-us-east-2.amazonaws.com'],
      minimumAbi: { major: 1, minor: 51 },
      policy: { smt: false, debug: false, pageSwapDisabled: true },
      minimumTcb: { reported: { bootloader: 4, snp: 24 }, launch: { fmc: 1 } },
      minimumBuild: 29,
      minimumVersion: { major: 1, minor: 55 },
      mitigations: { launch: '0x0b', current: '0xffffffffffffffff' },
      platformInfo: { aliasCheckComplete: true, tsmeEnabled: true },
      refuseUnknownPlatformBits: false,
      allowDebug: false,
      allowMigrationAgent: true,
      allowProvisional: true,
    };
    const { expectations, ...allowances } = parseReportPolicy(JSON.stringify(file));
    expect(allowances).toEqual({ allowDebug: false, allowMigrationAgent: true, allowProvisional: true });
    const { allowDebug: _d, allowMigrationAgent: _m, allowProvisional: _p, ...others } = file;
    const filled = (length: number, byte: number) => new Uint8Array(length).fill(byte);
    expect(expectations).toEqual({
      ...others,
      reportData: filled(64, 0xda),
      measurements: [filled(48, 0x3e), filled(48, 0x3f)],
      hostData: filled(32, 5),
      idKeyDigests: [filled(48, 0x1d)],
      authorKeyDigests: [filled(48, 0xa0)],
      familyId: filled(16, 0xfa),
      imageId: filled(16, 0x1a),
      reportId: filled(32, 0x21),
      reportIdMa: filled(32, 0xff),
      chipIds: [filled(64, 1), filled(8, 2)],
      mitigations: { launch: 0x0bn, current: 0xffff_ffff_ffff_ffffn },
    });
  });

  test('without any asks nothing', () => {
    expect(parseReportPolicy('{}')).toEqual({ expectations: {} });
  });

  test.each([
    ['no JSON', '{', 'policy file'],
    ['nothing', '', 'policy file'],
    ['an array', '[]', 'policy file'],
    ['null', 'null', 'policy file'],
    ['a member that is unknown', '{"measurement":"00"}', 'policy file: measurement'],
    ['a member that is inherited', '{"toString":1}', 'policy file: toString'],
    ['a prototype', '{"__proto__":{"vmpl":1}}', 'policy file: __proto__'],
    ['a member inside that is unknown', '{"policy":{"SMT":true}}', 'policy file: policy: SMT'],
    ['a bit that is always one', '{"policy":{"mustBeOne":true}}', 'policy file: policy: mustBeOne'],
    ['a range among flags', '{"policy":{"abiMajor":true}}', 'policy file: policy: abiMajor'],
    ['an unknown TCB', '{"minimumTcb":{"reportd":{"snp":1}}}', 'policy file: minimumTcb: reportd'],
    ['a member twice', '{"vmpl":1,"vmpl":1}', 'policy file: vmpl'],
    ['a member twice, one escaped', '{"vmpl":1,"\\u0076mpl":2}', 'policy file: vmpl'],
    [
      'a member twice, deep inside',
      '{"minimumTcb":{"launch":{"snp":1,"tee":[{}],"snp":2}}}',
      'policy file: snp',
    ],
    ['a flag in words', '{"policy":{"smt":"false"}}', 'policy file: policy: smt'],
    ['a number in words', '{"vmpl":"0"}', 'policy file: vmpl'],
    ['a fraction', '{"minimumBuild":1.5}', 'policy file: minimumBuild'],
    ['a negative number', '{"minimumBuild":-1}', 'policy file: minimumBuild'],
    ['bytes that are no text', '{"hostData":5}', 'policy file: hostData'],
    ['bytes that are not hexadecimal', '{"hostData":"0x00"}', 'policy file: hostData'],
    ['a value where a list belongs', '{"measurements":"00"}', 'policy file: measurements'],
    ['an odd list', '{"measurements":[null]}', 'policy file: measurements[0]'],
    ['too few bytes', '{"hostData":"00"}', 'hostData'],
    ['a vector without prefix', '{"mitigations":{"launch":"0b"}}', 'policy file: mitigations: launch'],
    [
      'a vector that is too long',
      '{"mitigations":{"launch":"0x10000000000000000"}}',
      'policy file: mitigations: launch',
    ],
    ['half a version', '{"minimumVersion":{"major":1}}', 'policy file: minimumVersion'],
    ['half an ABI version', '{"minimumAbi":{"minor":1}}', 'policy file: minimumAbi'],
    ['a key that cannot sign', '{"signingKey":"none"}', 'policy file: signingKey'],
    ['a line that is none', '{"productLines":["Naples"]}', 'policy file: productLines[0]'],
  ])('with %s is refused', (_what, text, argument) => {
    let error: unknown;
    try {
      parseReportPolicy(text);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect(error).toMatchObject({ argument });
  });

  test('may have one name in several objects, and quotes in names and values', () => {
    const text = '{"minimumTcb":{"launch":{"snp":1},"current":{"snp":1}},"cspIds":["a\\":{","a\\":{"]}';
    expect(parseReportPolicy(text).expectations.cspIds).toEqual(['a":{', 'a":{']);
  });
});

import type { DerivedKeyField, DerivedKeyRequest } from '@vouchsafe/guest';
import { InvalidArgumentError } from '@vouchsafe/sev';
import { choice, grouped, number, parsed, wideNumber, withDefault, word } from '../../../frame/options.js';

const fieldNames: Readonly<Record<string, DerivedKeyField>> = {
  policy: 'policy',
  'image-id': 'imageId',
  'family-id': 'familyId',
  measurement: 'measurement',
  svn: 'guestSvn',
  tcb: 'tcbVersion',
  mitigations: 'launchMitigationVector',
};

/** What a derived key depends on, as options; the names are those of snpguest where it has them. */
export const keyOptions = grouped('What the key is derived from:', {
  root: withDefault(
    choice('--root <root>', 'root key', ['vcek', 'vlek', 'vek', 'vmrk'] as const),
    'vek',
    'vek, which is the VLEK where one is loaded and else the VCEK',
  ),
  fields: withDefault(
    parsed<readonly DerivedKeyField[]>(
      '--fields <list>',
      `fields of the guest, separated by commas: ${Object.keys(fieldNames).join(', ')}; or none`,
      readFields,
    ),
    ['measurement', 'policy'],
    'measurement,policy',
  ),
  vmpl: number('--vmpl <n>', 'privilege level of the key (default: that of the kernel)', { most: 3 }),
  guestSvn: number(
    '--svn <n>',
    'security version of the key, at most the guest’s (default: the guest’s)',
    word,
  ),
  tcb: wideNumber('--tcb <n>', 'TCB version of the key as a number of 64 bits (default: the committed one)'),
  mitigations: wideNumber('--mitigations <n>', 'mitigations of the key (default: those at launch)'),
});

interface KeyInputs {
  readonly root: 'vcek' | 'vlek' | 'vek' | 'vmrk';
  readonly fields: readonly DerivedKeyField[];
  readonly vmpl: number | undefined;
  readonly guestSvn: number | undefined;
  readonly tcb: bigint | undefined;
  readonly mitigations: bigint | undefined;
}

/** The request that the options make. @throws InvalidArgumentError for a value of a field that does not count */
export function readKeyRequest(inputs: KeyInputs): DerivedKeyRequest {
  const { root, fields, vmpl, guestSvn, tcb, mitigations } = inputs;
  requireField('--svn', guestSvn, 'svn', fields);
  requireField('--tcb', tcb, 'tcb', fields);
  requireField('--mitigations', mitigations, 'mitigations', fields);
  return {
    root: root === 'vmrk' ? 'VMRK' : 'VEK',
    ...(root === 'vcek' ? { keySelection: 'VCEK' as const } : {}),
    ...(root === 'vlek' ? { keySelection: 'VLEK' as const } : {}),
    fields: Object.fromEntries(fields.map((field) => [field, true])),
    ...(vmpl === undefined ? {} : { vmpl }),
    ...(guestSvn === undefined ? {} : { guestSvn }),
    ...(tcb === undefined ? {} : { tcbVersion: tcb }),
    ...(mitigations === undefined ? {} : { launchMitigationVector: mitigations }),
  };
}

function requireField(
  option: string,
  value: number | bigint | undefined,
  name: string,
  fields: readonly DerivedKeyField[],
): void {
  if (value === undefined || fields.includes(fieldNames[name]!)) return;
  throw new InvalidArgumentError(option, 'the key does not depend on it', {
    hint: `add ${name} to --fields`,
  });
}

function readFields(given: string, name: string): DerivedKeyField[] {
  const words = given === 'none' ? [] : given.split(',').map((each) => each.trim());
  return words.map((each) => {
    const field = Object.hasOwn(fieldNames, each) ? fieldNames[each] : undefined;
    if (field !== undefined) return field;
    const known = Object.keys(fieldNames).join(', ');
    throw new InvalidArgumentError(
      name,
      `${JSON.stringify(each.slice(0, 60))} is not one of ${known}, or none`,
    );
  });
}

import type { SnpAttack } from '../attack.js';

export const snpPrivilegeAttacks: readonly SnpAttack[] = [];

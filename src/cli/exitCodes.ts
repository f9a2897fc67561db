/**
 * Exit statuses of every command: 0 to 2 are the answer, 64 and above (sysexits.h) are failures to answer at all.
 * docs/exit-codes.md is made from this table.
 */
export const exitCodes = {
  ok: { code: 0, meaning: "the answer is yes: healthy, one owner, nothing to do, all tests held" },
  no: { code: 1, meaning: "the answer is no: a race or a wrong owner, a finding, a verdict that did not hold" },
  other: { code: 2, meaning: "the third answer: nobody owns the VIP; changes are pending" },
  usage: { code: 64, meaning: "the command line cannot be understood" },
  badData: { code: 65, meaning: "a file that was given has errors: each is printed with line, column and remedy" },
  noInput: { code: 66, meaning: "a file, interface or namespace that was named does not exist, or is of another kind" },
  unavailable: {
    code: 69,
    meaning: "something needed is missing: Linux, a kernel module, a program, a package, a service that a lab can try",
  },
  internal: { code: 70, meaning: "a defect of vipward: please report it with the text printed" },
  system: { code: 71, meaning: "the system refused: a call failed for a reason other than permission" },
  permission: { code: 77, meaning: "not permitted: the message says which capability is needed" },
  interrupted: {
    code: 130,
    meaning: "ended by Ctrl-C, or since nobody reads the output any more; everything made was removed",
  },
} as const;

export type ExitName = keyof typeof exitCodes;
export const exitCode = (name: ExitName): number => exitCodes[name].code;

import type { Change } from "../change.ts";
import { HEADER, type Renderer, text } from "./render.ts";
import { systemd, UNIT, WANTED } from "./systemd.ts";

/** YAML takes JSON's strings; `!unsafe` keeps Ansible from reading a template in them (an interface may be named {{x}}). */
const yaml = (value: string): string => `!unsafe ${JSON.stringify(value)}`;

/**
 * A list of tasks, of ansible.builtin alone: the boot script and its unit, then the script itself, which may run any
 * number of times. For `include_tasks`: which hosts, the reader decides, since one host's interfaces are named here.
 */
export const ansible: Renderer = (changes: readonly Change[]) => {
  const { files, notCovered } = systemd(changes, false);
  const script = files[0]?.path ?? "";
  const lines = [
    "- name: vipward, folder",
    `  ansible.builtin.file: { path: ${script.slice(0, script.lastIndexOf("/"))}, state: directory, mode: '0755' }`,
    ...files.flatMap((f) => [
      `- name: vipward, ${f.path}`,
      "  ansible.builtin.copy:",
      `    dest: ${f.path}`,
      `    mode: '${f.mode.toString(8).padStart(4, "0")}'`,
      `    content: ${yaml(f.text)}`,
      ...(f.path === script ? ["  register: vipward_script"] : []),
    ]),
    "- name: vipward, at every boot",
    "  ansible.builtin.file:",
    `    src: ${UNIT}`,
    `    dest: ${WANTED}`,
    "    state: link",
    "    force: true",
    "- name: vipward, now",
    `  ansible.builtin.command: /bin/sh ${script}`,
    "  changed_when: vipward_script is changed",
  ];
  return { files: [{ path: "", text: text(["---", HEADER, ...lines]), mode: 0o644 }], notCovered };
};

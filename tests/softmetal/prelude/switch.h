/* The context switch, in assembly: a tenth of ucontext's time, which makes a system call a switch.
 *
 * The switched-to code is resumed by an indirect jump and not by `ret`, whose target the
 * processor's return stack would predict wrongly every time.
 */
#ifndef SOFTMETAL_SWITCH_H
#define SOFTMETAL_SWITCH_H

#if defined(__x86_64__)
/* rdi: from, rsi: to. */
__asm__(".text\n"
        ".p2align 4\n"
        ".local softmetal_switch\n"
        ".type softmetal_switch,@function\n"
        "softmetal_switch:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n    pushq "
        "%r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n    popq %rbp\n"
        "    popq %rcx\n"
        "    jmpq *%rcx\n"
        ".size softmetal_switch,.-softmetal_switch\n");
#elif defined(__aarch64__)
/* x0: from, x1: to. d8 to d15 are callee-saved, as are x19 to x30. */
__asm__(".text\n"
        ".p2align 4\n"
        ".local softmetal_switch\n"
        ".type softmetal_switch,@function\n"
        "softmetal_switch:\n"
        "    sub sp, sp, #160\n"
        "    stp x19, x20, [sp, #0]\n    stp x21, x22, [sp, #16]\n    stp x23, x24, [sp, #32]\n"
        "    stp x25, x26, [sp, #48]\n    stp x27, x28, [sp, #64]\n    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n    stp d14, d15, [sp, #144]\n"
        "    mov x9, sp\n    str x9, [x0]\n    mov sp, x1\n"
        "    ldp x19, x20, [sp, #0]\n    ldp x21, x22, [sp, #16]\n    ldp x23, x24, [sp, #32]\n"
        "    ldp x25, x26, [sp, #48]\n    ldp x27, x28, [sp, #64]\n    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n"
        "    br x30\n"
        ".size softmetal_switch,.-softmetal_switch\n");
#else
#error "softmetal knows x86-64 and arm64"
#endif

namespace softmetal {

/* A stack as softmetal_switch leaves it, from which a switch enters `start`, which must not return.
 */
inline void *fresh_stack(u8 *top, void (*start)())
{
    void **sp = (void **)top;
#if defined(__x86_64__)
    *--sp = nullptr; /* a return address for unwinders to stop at; keeps the alignment of a call */
    *--sp = (void *)start;
    for (int i = 0; i < 6; i++)
        *--sp = nullptr;
#else
    sp -= 20;
    for (int i = 0; i < 20; i++)
        sp[i] = nullptr;
    sp[11] = (void *)start; /* x30 */
#endif
    return sp;
}

} // namespace softmetal
#endif

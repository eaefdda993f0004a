/* Address spaces: none when kernels run, told apart when their text is checked (SOFTMETAL_STRICT).
 * `thread` is clang's own default space: the front end sees to it that pointers name one
 * (pointers.cpp). */
#ifndef SOFTMETAL_SPACES_H
#define SOFTMETAL_SPACES_H

#ifdef SOFTMETAL_STRICT
#define device __attribute__((address_space(1)))
#define constant const __attribute__((address_space(2)))
#define threadgroup __attribute__((address_space(3)))
#define SOFTMETAL_LOOP(pragma) _Pragma(#pragma) /* is it before a loop? */
#else
#define device
#define constant const
#define threadgroup
#define SOFTMETAL_LOOP(pragma)
#endif
#define thread

namespace softmetal {

enum { NO_POINTER = -1, IN_THREAD, IN_DEVICE, IN_CONSTANT, IN_THREADGROUP };

/* The address space that a pointer or reference leads to. */
template <class P> struct space { static constexpr int value = NO_POINTER; };
template <class T> struct space<T *> { static constexpr int value = IN_THREAD; };
template <class T> struct space<T &> { static constexpr int value = IN_THREAD; };
#ifdef SOFTMETAL_STRICT
template <class T> struct space<device T *> { static constexpr int value = IN_DEVICE; };
template <class T> struct space<device T &> { static constexpr int value = IN_DEVICE; };
template <class T> struct space<constant T *> { static constexpr int value = IN_CONSTANT; };
template <class T> struct space<constant T &> { static constexpr int value = IN_CONSTANT; };
template <class T> struct space<threadgroup T *> { static constexpr int value = IN_THREADGROUP; };
template <class T> struct space<threadgroup T &> { static constexpr int value = IN_THREADGROUP; };
#endif

/* Whether a pointer may be given to a function for this space: all may when spaces are not told
 * apart. */
template <class P, int wanted> inline constexpr bool leads_to =
#ifdef SOFTMETAL_STRICT
    space<P>::value == wanted;
#else
    true;
#endif

} // namespace softmetal
#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AMP_NEED is the name of an optional operation (family.h): every family's function of that
 * name is linked with the file that includes this. The table is for the linker's eyes only,
 * --gc-sections drops it.
 */
#define AMP_GLUE_(a, b) a##_##b
#define AMP_GLUE(a, b)	AMP_GLUE_(a, b)
#define AMP_OP		__typeof__(*((struct amp_family *)0)->AMP_NEED)

#define AMP_FAMILY(prefix, af) extern AMP_OP AMP_GLUE(prefix, AMP_NEED);
#include "families.def"
#undef AMP_FAMILY

static AMP_OP *const AMP_GLUE(need, AMP_NEED)[] __attribute__((used)) = {
#define AMP_FAMILY(prefix, af) AMP_GLUE(prefix, AMP_NEED),
#include "families.def"
#undef AMP_FAMILY
	0,
};

#undef AMP_OP
#undef AMP_GLUE
#undef AMP_GLUE_
#undef AMP_NEED

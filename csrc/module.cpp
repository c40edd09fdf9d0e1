// Importing geoguide3d._C or geoguide3d._C_cuda runs the registrations of their kernels. The modules hold one number,
// the CUDA major that both were built with, 0 without.
#include <Python.h>

#define INIT_OF(name) PyInit_##name
#define INIT(name) INIT_OF(name)
#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)

PyMODINIT_FUNC INIT(TORCH_EXTENSION_NAME)(void) {
  static PyModuleDef definition = {PyModuleDef_HEAD_INIT, TEXT(TORCH_EXTENSION_NAME), nullptr, -1, nullptr};
  PyObject* module = PyModule_Create(&definition);
  if (module == nullptr || PyModule_AddIntConstant(module, "cuda_major", CUDA_MAJOR) < 0) return nullptr;
  return module;
}
